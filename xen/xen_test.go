package xen_test

import (
	"errors"
	"testing"

	"xvsock/xen"
)

func TestParseDomID(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       xen.DomID
		ok         bool
	}{
		{"domain 0", "0", 0, true},
		{"an ordinary domain", "17", 17, true},
		{"the last id that names a domain", "32751", 0x7FEF, true},
		{"the first reserved id", "32752", 0, false},
		{"more than 16 bits", "65536", 0, false},
		{"nothing", "", 0, false},
		{"a sign", "+1", 0, false},
		{"a negative number", "-1", 0, false},
		{"a leading zero", "01", 0, false},
		{"a blank", "1 ", 0, false},
		{"a line end", "1\n", 0, false},
		{"a NUL", "1\x00", 0, false},
		{"another base", "0x1", 0, false},
		{"a path", "../1", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := xen.ParseDomID(c.text)
			if got != c.want || (err == nil) != c.ok {
				t.Errorf("ParseDomID(%q) = %v, %v; want %v", c.text, got, err, c.want)
			}
			if err != nil && !errors.Is(err, xen.ErrDomID) {
				t.Errorf("error %v does not wrap %v", err, xen.ErrDomID)
			}
		})
	}
}

func FuzzParseDomID(f *testing.F) {
	f.Add("0")
	f.Add("32751")
	f.Add("4294967297")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := xen.ParseDomID(text); err == nil && (!id.Valid() || id.String() != text) {
			t.Errorf("ParseDomID(%q) = %v", text, id)
		}
	})
}
