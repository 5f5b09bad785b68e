package metrics

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// MaxText is the largest text in bytes. What is over it is left out, and counted in
// the gauge xvsock_metrics_left_out, which each text has.
const MaxText = 1 << 20

// leftOut is the family that says how many samples the text lacks.
const leftOut = "xvsock_metrics_left_out"

// leftOutRoom is more than that family takes.
const leftOutRoom = 512

// ErrMetric says that a family or a sample breaks a rule of the format. It is a
// mistake of the caller; the rest of the text is not touched by it.
var ErrMetric = errors.New("bad metric")

// Writer gathers samples by families, and writes them in an order that depends on
// nothing but them: families by name, samples by labels. The zero value is ready for
// use, by one goroutine.
type Writer struct {
	families map[string]*Family
	size     int // of the text
	dropped  int // samples
	err      error
}

// Family is the samples of one name.
type Family struct {
	writer  *Writer
	name    string
	kind    string
	head    string             // HELP and TYPE lines
	samples map[string]float64 // by their labels as written
	bad     bool               // nothing of it is written
}

// Counter begins or continues a family of values that only ever grow. The help is one
// line about them. A mistake, such as a bad name, is told by Err: the family
// then takes samples and loses them.
func (w *Writer) Counter(name, help string) *Family { return w.family(name, "counter", help) }

// Gauge begins or continues a family of values that go up and down, as Counter.
func (w *Writer) Gauge(name, help string) *Family { return w.family(name, "gauge", help) }

func (w *Writer) family(name, kind, help string) *Family {
	f, there := w.families[name]
	switch {
	case there && f.kind == kind:
		return f
	case there:
		w.fail(fmt.Errorf("%w: %s is a %s and a %s", ErrMetric, name, f.kind, kind))
		return &Family{writer: w, bad: true}
	case !validName(name) || name == leftOut:
		w.fail(fmt.Errorf("%w: name %.64q", ErrMetric, name))
		return &Family{writer: w, bad: true}
	}
	f = &Family{writer: w, name: name, kind: kind, samples: make(map[string]float64), head: head(name, kind, help)}
	if w.families == nil {
		w.families = make(map[string]*Family)
	}
	w.families[name] = f
	return f
}

// Sample adds a value. The labels are names and values in turn; a label without
// value is as good as none, and left out. Labels with which the family has a value
// already are a mistake, and the first value stays.
func (f *Family) Sample(value float64, labels ...string) {
	w := f.writer
	if f.bad {
		w.dropped++
		return
	}
	text, err := formatLabels(labels)
	if _, there := f.samples[text]; err == nil && there {
		err = fmt.Errorf("%w: labels %.64q twice", ErrMetric, text)
	}
	if err != nil {
		w.dropped++
		w.fail(fmt.Errorf("%s: %w", f.name, err))
		return
	}
	size := len(f.name) + len(text) + len(" \n") + len(formatValue(value))
	if len(f.samples) == 0 {
		size += len(f.head)
	}
	if w.size+size > MaxText-leftOutRoom {
		w.dropped++
		return
	}
	w.size += size
	f.samples[text] = value
}

// Err returns the first mistake; it wraps ErrMetric.
func (w *Writer) Err() error { return w.err }

func (w *Writer) fail(err error) { w.err = cmp.Or(w.err, err) }

// Text returns the text, at most MaxText bytes.
func (w *Writer) Text() []byte {
	text := make([]byte, 0, w.size+leftOutRoom)
	for _, name := range slices.Sorted(maps.Keys(w.families)) {
		f := w.families[name]
		if len(f.samples) == 0 {
			continue
		}
		text = append(text, f.head...)
		for _, labels := range slices.Sorted(maps.Keys(f.samples)) {
			text = append(text, name...)
			text = append(text, labels...)
			text = append(text, ' ')
			text = append(text, formatValue(f.samples[labels])...)
			text = append(text, '\n')
		}
	}
	text = append(text, head(leftOut, "gauge", "Samples that this text lacks, for its size or by mistake.")...)
	return fmt.Appendf(text, "%s %d\n", leftOut, w.dropped)
}

// head is the lines that begin a family.
func head(name, kind, help string) string {
	return "# HELP " + name + " " + escape(help) + "\n# TYPE " + name + " " + kind + "\n"
}

// escape makes text UTF-8, and escapes what both help and labels have escaped.
func escape(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), `\`, `\\`)
	return strings.ReplaceAll(s, "\n", `\n`)
}

// formatLabels returns labels as they are written, by name.
func formatLabels(labels []string) (string, error) {
	if len(labels)%2 != 0 {
		return "", fmt.Errorf("%w: label %.64q has no value", ErrMetric, labels[len(labels)-1])
	}
	var pairs []string
	seen := make(map[string]bool, len(labels)/2)
	for l := range slices.Chunk(labels, 2) {
		name, value := l[0], l[1]
		if !validName(name) || strings.HasPrefix(name, "__") || seen[name] {
			return "", fmt.Errorf("%w: label %.64q", ErrMetric, name)
		}
		seen[name] = true
		if value != "" {
			pairs = append(pairs, name+`="`+strings.ReplaceAll(escape(value), `"`, `\"`)+`"`)
		}
	}
	if len(pairs) == 0 {
		return "", nil
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ",") + "}", nil
}

// validName reports whether s can be the name of a family or a label: of letters,
// digits and "_", no digit first. The colon is left to whoever evaluates.
func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// exact is above which a whole number is no longer written out.
const exact = 1e15

func formatValue(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < exact {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
