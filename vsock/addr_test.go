package vsock_test

import (
	"errors"
	"testing"

	"xvsock/vsock"
)

func TestParseAddr(t *testing.T) {
	for text, want := range map[string]vsock.Addr{
		"0:1":                   {CID: 0, Port: 1},
		"32753:2":               {CID: vsock.CIDBackend, Port: 2},
		"0x7FF0:0x16":           {CID: vsock.CIDSelf, Port: 22},
		"4294967295:4294967295": {CID: 0xFFFFFFFF, Port: vsock.PortAny},
	} {
		if got, err := vsock.ParseAddr(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ":", "1", "1:", ":1", "1:2:3", "-1:2", "1:-2", " 1:2", "1:2 ", "a:1", "4294967296:1", "1:4294967296"} {
		if got, err := vsock.ParseAddr(text); !errors.Is(err, vsock.ErrAddr) {
			t.Errorf("%q is taken for %v, %v", text, got, err)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, text := range []string{"0:1", "0x7FF1:2", "1:2:3", "4294967296:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := vsock.ParseAddr(text)
		if err != nil {
			return
		}
		if again, err := vsock.ParseAddr(a.String()); err != nil || again != a {
			t.Errorf("%q is %v, whose text is %v, %v", text, a, again, err)
		}
	})
}
