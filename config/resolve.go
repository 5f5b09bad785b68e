package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxValue is the most bytes of one value. The longest are the specs of services,
// and xenstore keeps no more in a node.
const maxValue = 2048

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
	covered := t.defaults()   // gets what is only checked
	mine := map[string]bool{} // keys that c has from this source
	had := map[string]bool{}  // keys that this source had before
	for _, s := range source.Settings {
		problem := func(reason, fix string) {
			problems = append(problems, Problem{source.at(s.Line), s.Key, s.Value, reason, fix})
		}
		key, ok := t.find(source, s.Key)
		if !ok {
			problem("unknown key", t.suggest(source, s.Key))
			continue
		}
		if err := checkText(s.Value); err != nil {
			problem(err.Error(), "")
			continue
		}
		target := c
		if _, set := c.origin[key.Name]; set && !mine[key.Name] {
			target = &covered
		}
		if fix, err := key.set(target, s.Value); err != nil {
			problem(err.Error(), fix)
			continue
		}
		if had[key.Name] && !key.Repeat {
			problem("given more than once", "this one counts")
		}
		had[key.Name] = true
		if target == c {
			c.origin[key.Name] = source.Name
			mine[key.Name] = true
		}
	}
	return problems
}

// checkText holds what every value is: short, and text.
func checkText(value string) error {
	if len(value) > maxValue {
		return fmt.Errorf("%d bytes long, %d are allowed", len(value), maxValue)
	}
	if !utf8.ValidString(value) {
		return errors.New("binary data")
	}
	if i := strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("binary data: byte 0x%02x", value[i])
	}
	return nil
}
