package cli

import (
	"strings"
	"testing"

	"xvsock/vsock"
)

func TestEndsAreReadAndSaidAgain(t *testing.T) {
	for text, want := range map[string]struct{ local, remote string }{ // "" for an error
		"unix:/run/a b.sock":         {"unix:/run/a b.sock", "unix:/run/a b.sock"},
		"unix:run/x":                 {},
		"unix:@x":                    {},
		"unix:":                      {},
		"unix:/a\x00b":               {},
		"unix:/" + long(106):         {"unix:/" + long(106), "unix:/" + long(106)},
		"unix:/" + long(107):         {},
		"tcp:80":                     {"tcp:127.0.0.1:80", "tcp:127.0.0.1:80"},
		"tcp::80":                    {"tcp:127.0.0.1:80", "tcp:127.0.0.1:80"},
		"tcp:0":                      {"tcp:127.0.0.1:0", ""},
		"tcp:*:80":                   {"tcp:*:80", ""},
		"tcp:db.example:80":          {"tcp:db.example:80", "tcp:db.example:80"},
		"tcp:[::1]:80":               {"tcp:[::1]:80", "tcp:[::1]:80"},
		"tcp:::1:80":                 {},
		"tcp:65536":                  {},
		"tcp:http":                   {},
		"tcp:080":                    {},
		"tcp:-1":                     {},
		"tcp:a b:80":                 {},
		"tcp:":                       {},
		"vsock:9000":                 {"vsock:*:9000", ""},
		"vsock:*:9000":               {"vsock:*:9000", ""},
		"vsock:0":                    {"vsock:*:0", ""},
		"vsock:3:9000":               {"", "vsock:3:9000"},
		"vsock:0x7FF1:0x16":          {"", "vsock:32753:22"},
		"vsock:3:0":                  {},
		"vsock:3:4294967295":         {},
		"vsock:4294967295:1":         {},
		"vsock:-1:1":                 {},
		"vsock:0b1:1":                {},
		"vsock:1_0:1":                {},
		"vsock::1":                   {},
		"vsock:3:":                   {},
		"xvsock:9000":                {"xvsock:9000", ""},
		"xvsock:0":                   {"xvsock:0", ""},
		"xvsock:echo":                {"xvsock:7", ""},
		"xvsock:db1:5432":            {"", "xvsock:db1:5432"},
		"xvsock:db1:postgres":        {"", "xvsock:db1:postgres"},
		"xvsock:0x7FF1:22":           {"", "xvsock:0x7FF1:22"},
		"xvsock:@backend:echo":       {"", "xvsock:@backend:echo"},
		"xvsock:a:b:22":              {"", "xvsock:a:b:22"},
		"xvsock:two words:22":        {},
		"xvsock:" + long(201) + ":1": {},
		"xvsock::22":                 {},
		"xvsock:db1:Postgres":        {},
		"xvsock:db1:00":              {},
		"http:80":                    {},
		"":                           {},
		"tcp":                        {},
	} {
		var e ends
		got := struct{ local, remote string }{}
		if l, err := e.local(text); err == nil {
			got.local = l.String()
		}
		if r, err := e.remote(text); err == nil {
			got.remote = r.String()
		}
		if got != want {
			t.Errorf("%q is %+v, want %+v", text, got, want)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func FuzzEnds(f *testing.F) {
	for _, text := range []string{"unix:/run/x", "tcp:[::1]:80", "tcp:*:0", "vsock:0x7FF1:22", "vsock:*:0", "xvsock:@backend:echo", "xvsock:22", "tcp:a%b:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e := ends{door: vsock.Door{Path: "/d"}, mode: 0o600}
		if l, err := e.local(text); err == nil {
			again, err := e.local(l.String())
			if err != nil || again.String() != l.String() {
				t.Fatalf("%q is said as %q, which is %v, %v", text, l, again, err)
			}
		} else if strings.ContainsAny(err.Error(), "\n\x1b") && !strings.ContainsAny(text, "\n\x1b") {
			t.Fatalf("%q: %v", text, err)
		}
		if r, err := e.remote(text); err == nil {
			again, err := e.remote(r.String())
			if err != nil || again.String() != r.String() {
				t.Fatalf("%q is said as %q, which is %v, %v", text, r, again, err)
			}
		}
	})
}
