package benchreport

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// The measures of a chart, in pixels.
const (
	panelWidth, panelHeight = 520, 460
	marginLeft, marginRight = 72, 24
	marginTop, plotHeight   = 44, 250
	plotWidth               = panelWidth - marginLeft - marginRight
	legendTop, legendLine   = marginTop + plotHeight + 66, 18
)

// style has colours that are told apart on a light ground and on a dark one, and by
// those who see no red or no green.
const style = `
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
text.title { font-size: 14px; font-weight: 600; }
text.label, text.tick { fill: var(--soft); }
.grid { stroke: var(--grid); stroke-width: 1; }
.line { fill: none; stroke-width: 2; }
.peer { --c: #6b7280; } .copy { --c: #1f6fc4; } .map { --c: #c2570c; }
.line, .dot { stroke: var(--c); } .dot { fill: var(--c); }
svg { --ground: #ffffff; --ink: #1f2328; --soft: #57606a; --grid: #d8dee4; }
.ground { fill: var(--ground); }
@media (prefers-color-scheme: dark) {
  svg { --ground: #14181d; --ink: #e6edf3; --soft: #9aa4ae; --grid: #30363d; }
  .peer { --c: #9aa4ae; } .copy { --c: #6cb0f5; } .map { --c: #f59a57; }
}
`

// picture is one or more charts beside each other.
type picture struct{ panels []panel }

// panel is a chart of lines over two logarithmic axes.
type panel struct {
	title string
	x, y  axis
	lines []series
}

// drawing is the picture of the results.
func drawing(results []Result) picture {
	trips, rates := roundTrips(results), streams(results)
	_, tripTimes := coordinates(trips)
	sizes, speeds := coordinates(rates)
	return picture{[]panel{
		{
			title: "Round trip of 64 B, PV domU to domU (less is better)", lines: trips,
			x: axis{label: "percentile", min: percentiles[0].at, max: percentiles[len(percentiles)-1].at, ticks: percentiles},
			y: valueAxis("microseconds, logarithmic", tripTimes),
		},
		{
			title: "Stream, PV domU to domU (more is better)", lines: rates,
			x: sizeAxis("size of a message, logarithmic", sizes), y: valueAxis("MB/s, logarithmic", speeds),
		},
	}}
}

// coordinates are those of all points.
func coordinates(all []series) (x, y []float64) {
	for _, s := range all {
		for _, p := range s.points {
			x, y = append(x, p.x), append(y, p.y)
		}
	}
	return x, y
}

func (p picture) writeTo(b *bytes.Buffer) {
	width, height := panelWidth*len(p.panels), panelHeight
	for _, one := range p.panels {
		height = max(height, legendTop+legendLine*(len(one.lines)+1))
	}
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(b, "<title>xvsock beside libxenvchan</title>\n<style>%s</style>\n", style)
	fmt.Fprintf(b, `<rect class="ground" width="%d" height="%d"/>`+"\n", width, height)
	for i, one := range p.panels {
		fmt.Fprintf(b, `<g transform="translate(%d,0)">`+"\n", i*panelWidth)
		one.writeTo(b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
}

func (p panel) writeTo(b *bytes.Buffer) {
	text(b, "title", marginLeft, 24, "start", p.title)
	for _, t := range p.y.ticks {
		y := p.yAt(t.at)
		fmt.Fprintf(b, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`+"\n", marginLeft, y, marginLeft+plotWidth, y)
		text(b, "tick", marginLeft-8, y+4, "end", t.label)
	}
	for _, t := range p.x.ticks {
		x := p.xAt(t.at)
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", x, marginTop, x, marginTop+plotHeight)
		text(b, "tick", x, marginTop+plotHeight+18, "middle", t.label)
	}
	text(b, "label", marginLeft+plotWidth/2, marginTop+plotHeight+40, "middle", p.x.label)
	fmt.Fprintf(b, `<g transform="translate(18,%d) rotate(-90)">`, marginTop+plotHeight/2)
	text(b, "label", 0, 0, "middle", p.y.label)
	b.WriteString("</g>\n")
	if len(p.lines) == 0 {
		text(b, "label", marginLeft+plotWidth/2, marginTop+plotHeight/2, "middle", "not measured")
	}
	for i, line := range p.lines {
		p.writeLine(b, line, legendTop+legendLine*i)
	}
}

// writeLine draws a line, and what it is called at the height legend.
func (p panel) writeLine(b *bytes.Buffer, s series, legend int) {
	var points []string
	for _, at := range s.points {
		points = append(points, fmt.Sprintf("%.1f,%.1f", p.xAt(at.x), p.yAt(at.y)))
	}
	dash := p.dash(s)
	fmt.Fprintf(b, `<g class="%s"><polyline class="line" points="%s"%s/>`+"\n", html.EscapeString(s.side), strings.Join(points, " "), dash)
	for _, at := range s.points {
		fmt.Fprintf(b, `<circle class="dot" cx="%.1f" cy="%.1f" r="3"><title>%s: %s</title></circle>`+"\n",
			p.xAt(at.x), p.yAt(at.y), html.EscapeString(s.name()), number(at.y))
	}
	fmt.Fprintf(b, `<polyline class="line" points="%d,%d %d,%d"%s/></g>`+"\n", marginLeft, legend, marginLeft+34, legend, dash)
	text(b, "", marginLeft+42, float64(legend+4), "start", s.name())
}

// dash tells the lines of one colour apart, in their order.
func (p panel) dash(s series) string {
	kinds := []string{"", ` stroke-dasharray="7 4"`, ` stroke-dasharray="2 4"`, ` stroke-dasharray="9 3 2 3"`}
	n := 0
	for _, other := range p.lines {
		if other.side == s.side && other.detail != s.detail {
			n++
		} else if other.side == s.side {
			break
		}
	}
	return kinds[n%len(kinds)]
}

func (p panel) xAt(v float64) float64 { return marginLeft + plotWidth*p.x.place(v) }
func (p panel) yAt(v float64) float64 { return marginTop + plotHeight*(1-p.y.place(v)) }

func text(b *bytes.Buffer, class string, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, html.EscapeString(s))
}
