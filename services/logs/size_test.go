package logs

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// A line is never larger on the wire than messages are filled by.
func TestSizeIsNeverTooSmall(t *testing.T) {
	for _, text := range []string{"", "a", `"`, `\`, "<", "é", "\x7f", "\xff", "\u2028", "日"} {
		l := Line{Position: math.MaxUint64, T: maxTime - 0.001, Level: 1000000, Text: plain([]byte(strings.Repeat(text, MaxText)))}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode([]Line{l}); err != nil {
			t.Fatal(err)
		}
		if size := lineRoom + 2*len(l.Text); b.Len() > size {
			t.Errorf("with %q: %d bytes; size says %d", text, b.Len(), size)
		}
	}
}
