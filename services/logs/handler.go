package logs

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Handler returns a handler that adds each record of the level and above to the
// buffer, as a line in the form of slog.TextHandler without time and level, which
// stand apart. The time of a line is that since start, because a domain's clock may
// not be set yet.
func (b *Buffer) Handler(level slog.Leveler, start time.Time) slog.Handler {
	return handler{slog.NewTextHandler(writer{b, start}, &slog.HandlerOptions{Level: level})}
}

// handler has the records written without time.
type handler struct{ text slog.Handler }

func (h handler) Enabled(ctx context.Context, l slog.Level) bool { return h.text.Enabled(ctx, l) }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r.Time = time.Time{}
	return h.text.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler { return handler{h.text.WithAttrs(attrs)} }

func (h handler) WithGroup(name string) slog.Handler { return handler{h.text.WithGroup(name)} }

// writer takes a record in one call, as slog.TextHandler writes it:
//
//	level=WARN msg="link broken" peer=3
type writer struct {
	buffer *Buffer
	start  time.Time
}

// Write implements io.Writer. It does not keep the bytes.
func (w writer) Write(record []byte) (int, error) {
	level, text, _ := bytes.Cut(bytes.TrimSuffix(record, []byte("\n")), []byte(" "))
	l := Line{T: seconds(time.Since(w.start)), Text: plain(text)}
	// The level comes first and is the handler's own word.
	if err := l.Level.UnmarshalText(bytes.TrimPrefix(level, []byte("level="))); err != nil {
		return 0, err
	}
	w.buffer.add(l)
	return len(record), nil
}

// seconds is a time in seconds, to the millisecond.
func seconds(d time.Duration) float64 {
	return math.Round(max(d.Seconds(), 0)*1000) / 1000
}

// plain returns text that is fit to be shown, of at most MaxText bytes. The text
// handler has quoted nearly all that is not: it lets DEL pass.
func plain(text []byte) string {
	if showable(text) {
		return string(text)
	}
	const cut = "..."
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		piece := string(r)
		if !unicode.IsPrint(r) {
			piece = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if b.Len()+len(piece)+len(cut) > MaxText {
			return b.String() + cut
		}
		b.WriteString(piece)
	}
	return b.String()
}

// showable reports whether text is short UTF-8 of letters, marks, numbers,
// punctuation, symbols and the ASCII space: nothing that steers a terminal or the
// direction of text.
func showable(text []byte) bool {
	return len(text) <= MaxText && utf8.Valid(text) &&
		!bytes.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
