package pid1

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// NewLog returns the domain's log: one line a record on w, of the level given
// and above, as
//
//	xvsock: t=1.234s level=WARN msg="link broken" peer=3 reason="ring: producer out of range"
//
// with the seconds since start, because a domain's clock may not be set yet.
// It is slog.TextHandler's form: text with blanks, control or invisible
// characters is quoted and escaped, so what a peer wrote cannot make a line. Only DEL
// is escaped without quotes.
func NewLog(w io.Writer, level slog.Leveler, start time.Time) *slog.Logger {
	return slog.New(slog.NewTextHandler(prefixed{w}, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
				// Not the record's own time: the handler has taken the
				// monotonic reading out of it, and the clock may be set.
				return slog.String("t", fmt.Sprintf("%.3fs", time.Since(start).Seconds()))
			}
			return a
		},
	}))
}

// prefixed puts the program's name before each record, and escapes DEL, which the
// handler takes for a letter. The handler writes a record in one call.
type prefixed struct{ w io.Writer }

func (p prefixed) Write(b []byte) (int, error) {
	line := append([]byte("xvsock: "), bytes.ReplaceAll(b, []byte("\x7f"), []byte(`\x7f`))...)
	if _, err := p.w.Write(line); err != nil {
		return 0, err
	}
	return len(b), nil
}
