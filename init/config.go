package pid1

import (
	"fmt"
	"log/slog"
	"strings"
)

// Mode is the part a domain plays.
type Mode int

const (
	// Frontend links to the backend that the toolstack named.
	Frontend Mode = iota
	// Backend serves the frontends attached to this domain.
	Backend
)

// String returns the word that xvsock.mode takes.
func (m Mode) String() string {
	if m == Backend {
		return "backend"
	}
	return "frontend"
}

// Config is what a domain was told, checked and with every default in place.
type Config struct {
	Mode     Mode       // xvsock.mode
	Name     string     // xvsock.name: a label for people, never an identity; may be empty
	Services []Service  // what to run: those that every domain runs, then xvsock.service
	Policy   string     // xvsock.policy: "xenstore", or the path of a directory
	Log      slog.Level // xvsock.log
	Panic    How        // xvsock.panic

	origin map[string]string
}

// Origin returns where the value of a key came from: the name of a source, or
// "default".
func (c Config) Origin(key string) string {
	if source, ok := c.origin[key]; ok {
		return source
	}
	return "default"
}

// Setting is one key and value as a source has it, not yet checked.
type Setting struct{ Key, Value string }

// Source is one place that settings come from.
type Source struct {
	Name     string // as people are told it, e.g. "command line"
	Settings []Setting
}

// Problem is one thing wrong with the settings. The domain goes on with the
// default, or with what is left of a list.
type Problem struct {
	Source string // which source
	Key    string // which key; empty if it is about the source as a whole
	Value  string // what was given
	Reason string // what is wrong with it
	Fix    string // the nearest thing that is right
}

// maxShown bounds how much of a key or value is shown in a problem, in bytes.
const maxShown = 80

// String returns the problem on one line, whatever bytes the source held.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Key != "" {
		fmt.Fprintf(&b, ": %s=%s", strings.Trim(shown(p.Key), `"`), shown(p.Value))
	}
	fmt.Fprintf(&b, ": %s", p.Reason)
	if p.Fix != "" {
		fmt.Fprintf(&b, "; %s", p.Fix)
	}
	return b.String()
}

// shown quotes s, cut to a length that leaves room on the line.
func shown(s string) string {
	if len(s) > maxShown {
		return fmt.Sprintf("%+q...", s[:maxShown])
	}
	return fmt.Sprintf("%+q", s)
}

// Resolve makes the configuration from sources, strongest first. A key that a
// source has is taken from there whole: the values of a repeatable key are never
// mixed from two sources. Within a source the last valid value of a key counts,
// as the kernel has it for its own. Every key of every source is checked, so a
// mistake in a weak source is found although a stronger one covers it.
func (t Table) Resolve(sources ...Source) (Config, []Problem) {
	c := t.defaults()
	var problems []Problem
	for _, source := range sources {
		problems = append(problems, t.take(&c, source)...)
	}
	return c, problems
}

// take applies one source to c, leaving what stronger sources have set.
func (t Table) take(c *Config, source Source) []Problem {
	var problems []Problem
	covered := t.defaults() // gets what is only checked
	taken := map[string]bool{}
	for _, s := range source.Settings {
		problem := func(reason, fix string) {
			problems = append(problems, Problem{source.Name, s.Key, s.Value, reason, fix})
		}
		key, ok := t.find(s.Key)
		if !ok {
			problem("unknown key", t.suggest(s.Key))
			continue
		}
		target := c
		if _, set := c.origin[key.Name]; set && !taken[key.Name] {
			target = &covered
		}
		if fix, err := key.set(target, s.Value); err != nil {
			problem(err.Error(), fix)
			continue
		}
		if taken[key.Name] && !key.Repeat {
			problem("given more than once", "this one counts")
		}
		if target == c {
			c.origin[key.Name] = source.Name
			taken[key.Name] = true
		}
	}
	return problems
}
