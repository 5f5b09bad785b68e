package pid1

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// Prefix begins every key of ours.
const Prefix = "xvsock."

// Key is one row of the table of settings: the only place where a key is
// defined. Its parsing, its default and its help stand together so that a
// reference page made from the table cannot differ from what the binary does.
type Key struct {
	Name    string // with Prefix
	Form    string // what a value looks like, e.g. "frontend|backend"
	Help    string // one sentence
	Default string // the value when it is not given; empty: none
	Repeat  bool   // may be given more than once, each adding one

	// set checks a value and puts it into a configuration. Its error says what
	// is wrong and fix what would be right; c is unchanged then.
	set func(c *Config, value string) (fix string, err error)
}

// Table is the table of settings.
type Table struct {
	keys     []Key
	services []Service // what every domain runs
}

// Settings returns the table. builtin names the services that the binary has in
// it.
func Settings(builtin []Builtin) Table {
	return Table{services: always(builtin), keys: []Key{
		oneOf("xvsock.mode", "The part that the domain plays.", Frontend,
			[]Mode{Frontend, Backend}, func(c *Config) *Mode { return &c.Mode }),
		{
			Name: "xvsock.name",
			Form: "LABEL",
			Help: "A name for people to read in logs, and the host name; who the domain is, the toolstack says.",
			set:  setName,
		},
		serviceKey(builtin),
		{
			Name:    "xvsock.policy",
			Form:    policyInStore + "|/DIRECTORY",
			Help:    "Where the rules of a backend are: what the toolstack pushed, or files in the image.",
			Default: policyInStore,
			set:     setPolicy,
		},
		oneOf("xvsock.log", "The least level of what is logged.", level(slog.LevelInfo),
			[]level{level(slog.LevelDebug), level(slog.LevelInfo), level(slog.LevelWarn), level(slog.LevelError)},
			func(c *Config) *level { return (*level)(&c.Log) }),
		oneOf("xvsock.panic", "What the domain does when it cannot go on.", Reboot,
			[]How{Reboot, PowerOff}, func(c *Config) *How { return &c.Panic }),
	}}
}

// Keys returns the rows, in the order of the reference page.
func (t Table) Keys() []Key { return slices.Clone(t.keys) }

// defaults returns the configuration of a domain that was told nothing.
func (t Table) defaults() Config {
	c := Config{Services: slices.Clone(t.services), origin: map[string]string{}}
	for _, key := range t.keys {
		if key.Default != "" {
			// The defaults are ours; a test reads each of them.
			_, _ = key.set(&c, key.Default)
		}
	}
	return c
}

// find returns the row of a key.
func (t Table) find(name string) (Key, bool) {
	i := slices.IndexFunc(t.keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return Key{}, false
	}
	return t.keys[i], true
}

// suggest says which key was probably meant.
func (t Table) suggest(name string) string {
	// The prefix is the same in all, so it would make all of them look near.
	short := make([]string, len(t.keys))
	for i, k := range t.keys {
		short[i] = strings.TrimPrefix(k.Name, Prefix)
	}
	if best := nearest(strings.TrimPrefix(strings.ToLower(name), Prefix), short); best != "" {
		return "did you mean " + Prefix + best + "?"
	}
	return "known are " + Prefix + strings.Join(short, ", "+Prefix)
}

// oneOf makes the row of a key that takes one of a few words.
func oneOf[T interface {
	comparable
	fmt.Stringer
}](name, help string, def T, values []T, field func(*Config) *T) Key {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = v.String()
	}
	set := func(c *Config, value string) (string, error) {
		i := slices.Index(words, value)
		if i < 0 {
			return valueFix(value, words, def.String()), fmt.Errorf("not one of %s", strings.Join(words, ", "))
		}
		*field(c) = values[i]
		return "", nil
	}
	return Key{Name: name, Form: strings.Join(words, "|"), Help: help, Default: def.String(), set: set}
}

func valueFix(value string, words []string, def string) string {
	if best := nearest(strings.ToLower(value), words); best != "" {
		return "did you mean " + best + "?"
	}
	return "the default is " + def
}

// level is slog.Level, spelt as xvsock.log has it.
type level slog.Level

func (l level) String() string { return strings.ToLower(slog.Level(l).String()) }

// maxName is the longest host name that Linux takes (__NEW_UTS_LEN is 64; DNS
// says 63 for a label).
const maxName = 63

var errName = errors.New("a label is 1 to 63 letters, digits, dots, hyphens or underscores, the first a letter or digit")

func setName(c *Config, value string) (string, error) {
	if len(value) == 0 || len(value) > maxName {
		return "the domain has no label", errName
	}
	for i, b := range []byte(value) {
		if !letterOrDigit(b) && (i == 0 || !strings.ContainsRune("-._", rune(b))) {
			return "the domain has no label", errName
		}
	}
	c.Name = value
	return "", nil
}

// policyInStore is the value of xvsock.policy for rules that are in xenstore.
const policyInStore = "xenstore"

func setPolicy(c *Config, value string) (string, error) {
	if value != policyInStore && !filepath.IsAbs(value) {
		return "the default is " + policyInStore, errors.New("neither " + policyInStore + " nor the path of a directory")
	}
	c.Policy = value
	return "", nil
}

func letterOrDigit(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}
