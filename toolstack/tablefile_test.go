package toolstack

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"xvsock/xen"
)

func FuzzTable(f *testing.F) {
	f.Add("[[domain]]\nname = \"a\"\ntags = [\"x\"]\n[[ domain ]] # b\nuuid = \"11111111-2222-4333-8444-aaaaaaaaaaaa\"\nid = 7\n")
	f.Add("[[domain]]\nname = \"\"\"\n[[domain]]\n\"\"\"\n")
	f.Add("domain = [{name=\"a\"}]\r\n[[domain]]\r\nuuid='x'\r\n")
	f.Add("[[domain]]\nname='a'\n[domain.config]\nlog='x'\nservice=['a', 1, true]\n[[domain]]\nname='b'\nconfig.x=1\nconfig.y.z=1\n")
	f.Fuzz(func(t *testing.T, text string) {
		tab, err := parseTable("file", text)
		if err != nil {
			var bad *TableError
			if !errors.As(err, &bad) || bad.Line < 1 || bad.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("%T %v of %d lines", err, err, strings.Count(text, "\n")+1)
			}
			return
		}
		ids := make(map[xen.DomID]bool)
		for _, d := range tab.Domains() {
			if ids[d.ID] || !d.ID.Valid() || d.Name == "" && d.UUID == "" || CheckTags(d.Tags) != nil {
				t.Fatalf("domain %+v", d)
			}
			ids[d.ID] = true
			if err := CheckConfig(tab.Config(d.Domain)); err != nil {
				t.Fatalf("%+v is told what cannot be: %v", d, err)
			}
			if got := tab.Tags(d.Domain); !slices.Equal(got, d.Tags) {
				t.Fatalf("tags of %+v are %q", d, got)
			}
		}
	})
}
