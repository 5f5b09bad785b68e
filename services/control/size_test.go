package control

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"xvsock/services"
)

// Nothing is larger on the wire than messages are filled by.
func TestSizesAreNeverTooSmall(t *testing.T) {
	encode := func(v any) int {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		return b.Len()
	}
	for _, text := range []string{"", "a", `"`, `\`, "<", "é", "\x7f", "\xff", "\u2028", "日"} {
		long := plain(strings.Repeat(text, maxText))
		v := Value{Key: long, Values: []string{long, "", long}, Origin: long}
		if n := encode([]Value{v}); n > v.size() {
			t.Errorf("a value with %q: %d bytes; size says %d", text, n, v.size())
		}
		s := ServiceStatus{
			Name: strings.Repeat("x", services.MaxName), Port: 0xFFFFFFFE, State: services.NotServing,
			Starts: math.MaxUint64, Panics: math.MaxUint64, Error: long, Since: time.Unix(1e9, 123456789).In(time.FixedZone("", -3661)),
		}
		if n := encode([]ServiceStatus{s}); n > itemRoom+2*len(s.Error) {
			t.Errorf("a service with %q: %d bytes; size says %d", text, n, itemRoom+2*len(s.Error))
		}
	}
}
