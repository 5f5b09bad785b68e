package config

import (
	"fmt"
	"strings"
)

// Prefix begins every key of ours on the kernel's command line.
const Prefix = "xvsock."

// Setting is one key and value as a source has it, not yet checked.
type Setting struct {
	Key   string // as the source spells it, with the source's prefix
	Value string
	Line  int // of a file, from 1; 0: the source has no lines
}

// Source is one place that settings come from.
type Source struct {
	Name     string // as people are told it, e.g. "command line"
	Prefix   string // what stands before each key there, e.g. "xvsock." or "--"
	Settings []Setting
}

// at names the source, and the line of s in it.
func (s Source) at(line int) string {
	if line == 0 {
		return s.Name
	}
	return fmt.Sprintf("%s:%d", s.Name, line)
}

// Problem is one thing wrong with the settings. The domain goes on with the
// default, or with what is left of a list.
type Problem struct {
	Source string // which source, with the line if it is a file
	Key    string // which key, as the source spells it; empty if it is about the source as a whole
	Value  string // what was given
	Reason string // what is wrong with it
	Fix    string // the nearest thing that is right
}

// maxShown bounds how much of a key or value is shown in a problem, in bytes.
const maxShown = 80

// maxReason bounds how much of a reason is shown, in bytes. A parser's may quote
// what it has read.
const maxReason = 400

// String returns the problem on one line of printable ASCII, whatever bytes the
// source held.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Key != "" {
		fmt.Fprintf(&b, ": %s=%s", strings.Trim(shown(p.Key), `"`), shown(p.Value))
	}
	fmt.Fprintf(&b, ": %.*s", maxReason, p.Reason)
	if p.Fix != "" {
		fmt.Fprintf(&b, "; %.*s", maxReason, p.Fix)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, b.String())
}

// shown quotes s, cut to a length that leaves room on the line.
func shown(s string) string {
	if len(s) > maxShown {
		return fmt.Sprintf("%+q...", s[:maxShown])
	}
	return fmt.Sprintf("%+q", s)
}
