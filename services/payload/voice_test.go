package payload

import (
	"bytes"
	"log/slog"
	"testing"
)

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n"), 1)
	f.Add(bytes.Repeat([]byte("x"), 3000), 700)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		l := &lines{voice: newVoice(slog.New(slog.DiscardHandler))}
		step = max(step&0xFFF, 1)
		for rest := text; len(rest) > 0; {
			n := min(step, len(rest))
			if wrote, err := l.Write(rest[:n]); wrote != n || err != nil {
				t.Fatalf("Write = %d, %v", wrote, err)
			}
			rest = rest[n:]
			if len(l.line) > maxLine {
				t.Fatalf("a line of %d bytes is kept", len(l.line))
			}
		}
		l.flush()
	})
}
