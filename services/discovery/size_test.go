package discovery

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"xvsock/services"
)

// A record is never larger on the wire than messages are filled by.
func TestSizeIsNeverTooSmall(t *testing.T) {
	for _, text := range []string{"", "a", `"`, `\`, "<", "\x01", "\xff", "\u2028", "\u00e9"} {
		long := strings.Repeat(text, 200)
		r := Record{
			Domain: long, UUID: long, Name: strings.Repeat("x", services.MaxName), Port: 0xFFFFFFFE, State: services.NotServing, CID: 0xFFFFFFFF,
			Txt: map[string]string{"k": strings.Repeat(`"`, 900), "l": "", "m": `\\`},
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode([]Change{{Delete, r}}); err != nil {
			t.Fatal(err)
		}
		if b.Len() > size(r) {
			t.Errorf("with %q: %d bytes; size says %d", text, b.Len(), size(r))
		}
	}
}
