package xenstore_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"xvsock/xen"
	"xvsock/xenstore"
)

func TestParseUintIsStrict(t *testing.T) {
	for _, text := range []string{"0", "7", "65535"} {
		if n, err := xenstore.ParseUint(text, 65535); err != nil || text == "7" && n != 7 {
			t.Errorf("%q is %d, %v", text, n, err)
		}
	}
	for _, text := range []string{
		"", " 1", "1 ", "1\n", "1\x00", "+1", "-1", "01", "0x1", "1e1", "1_0", "65536", "18446744073709551616",
		"\u0661", strings.Repeat("1", 4096),
	} {
		if n, err := xenstore.ParseUint(text, 65535); !errors.Is(err, xenstore.ErrValue) {
			t.Errorf("%.20q is %d, %v", text, n, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("error of %d bytes", len(err.Error()))
		}
	}
}

func TestJoinKeepsNamesInside(t *testing.T) {
	for _, c := range []struct{ base, name, want string }{
		{"/a", "b", "/a/b"}, {"/a/", "b-_@9", "/a/b-_@9"}, {"/", "b", "/b"},
		{"/a", "", ""}, {"/a", "b/c", ""}, {"/a", "..", ""}, {"/a", "b\x00c", ""}, {"/a", "b c", ""},
		{"/a", "\u00e4", ""}, {"/a", strings.Repeat("b", xenstore.MaxName+1), ""},
	} {
		got, err := xenstore.Join(c.base, c.name)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, xenstore.ErrPath) {
			t.Errorf("%q and %.20q is %q, %v", c.base, c.name, got, err)
		}
	}
}

func TestReadNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		go func() {
			for r := range d.requests {
				d.reply(r, "0x10")
			}
		}()
		_, err := c.ReadUint(t.Context(), "a", 100)
		wantError(t, err, xenstore.ErrValue)
		_, err = c.ReadDomID(t.Context(), "a")
		wantError(t, err, xen.ErrDomID)
	})
}

func FuzzPath(f *testing.F) {
	f.Add("/local/domain/0/a")
	f.Add("a//b")
	f.Fuzz(func(t *testing.T, name string) {
		path, err := xenstore.Join("/base", name)
		if err == nil && (strings.Count(path, "/") != 2 || strings.ContainsAny(path, "\x00. \n")) {
			t.Fatalf("%q became %q", name, path)
		}
	})
}
