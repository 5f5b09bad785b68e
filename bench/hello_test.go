package bench

import (
	"bytes"
	"testing"
	"time"
)

func FuzzHello(f *testing.F) {
	f.Add(hello{kindEcho, 64, 10 * time.Second}.marshal())
	f.Add(hello{kindSource, MaxSize, maxSeconds * time.Second}.marshal())
	f.Add(make([]byte, helloSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != helloSize {
			return
		}
		h, err := parseHello(b)
		switch {
		case err != nil:
		case !bytes.Equal(h.marshal(), b):
			t.Errorf("%x is read as %+v, which is %x", b, h, h.marshal())
		case h.buffer() < 1 || h.buffer() > MaxSize || h.time < time.Second || h.time > maxSeconds*time.Second:
			t.Errorf("%+v, with a buffer of %d", h, h.buffer())
		}
	})
}

// Whatever a plan takes, the server lets its connections last that long.
func TestTheLongestPlanIsNoLie(t *testing.T) {
	p := Plan{Case: RoundTrip, Size: MaxSize, Time: MaxTime}
	if _, err := parseHello(hello{kindEcho, p.Size, p.Limit()}.marshal()); err != nil || p.Check() != nil {
		t.Error(err, p.Check())
	}
}
