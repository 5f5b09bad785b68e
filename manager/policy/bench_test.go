package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"xvsock/manager/policy"
)

func BenchmarkJudge(b *testing.B) {
	var rules strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&rules, "%d web-%d db%d allow\n", 10+i, i, i)
	}
	s := parse(b, rules.String()+example)
	from, to := s.Match(web1), s.Match(db1)
	for _, c := range []struct {
		name string
		port uint32
	}{{"allowed", 7}, {"denied", 9999}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(from, to, c.port)
			}
		})
	}
	b.Run("by domains", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Decide(web1, db1, 9999)
		}
	})
}

// BenchmarkWorstTable is the largest set there can be, asked about a pair that all
// of it is about.
func BenchmarkWorstTable(b *testing.B) {
	var files []policy.File
	for f := range 8 {
		var text strings.Builder
		for r := range 512 {
			for i := range 64 {
				fmt.Fprintf(&text, "%s%d", strings.Repeat(",", min(i, 1)), 1000+2*(i*4096+f*512+r))
			}
			text.WriteString(" * * deny\n")
		}
		files = append(files, policy.File{Name: "p", Text: text.String()})
	}
	for b.Loop() {
		s, err := policy.Parse(files)
		if err != nil {
			b.Fatal(err)
		}
		s.Table(web1, db1)
	}
}
