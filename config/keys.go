package config

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// Key is one row of the table of settings: the only place where a key is
// defined. Its parsing, its default and its help stand together, so that what is
// made from the table cannot differ from what the binary does.
type Key struct {
	Name    string   // without the prefix of a source
	Form    string   // what a value looks like, e.g. "frontend|backend"
	Help    string   // one or more sentences
	Default string   // the value when it is not given; empty: none
	Repeat  bool     // may be given more than once, each adding one
	Example []string // values for the reference page: one, or several if Repeat

	// set checks a value and puts it into a configuration. Its error says what
	// is wrong and fix what would be right; c is unchanged then.
	set func(c *Config, value string) (fix string, err error)
	// get is the other direction: the values that give what c has.
	get func(c Config) []string
}

// Table is the table of settings.
type Table struct {
	keys     []Key
	builtin  []Builtin
	services []Service // what every domain runs
}

// Settings returns the table. builtin names the services that the binary has in
// it; their names and ports differ.
func Settings(builtin []Builtin) Table {
	return Table{builtin: builtin, services: always(builtin), keys: []Key{
		oneOf(Key{
			Name: "mode", Help: "The part that the domain plays.", Example: []string{"backend"},
		}, Frontend, []Mode{Frontend, Backend}, func(c *Config) *Mode { return &c.Mode }),
		{
			Name: "name", Form: "LABEL", Example: []string{"keys"},
			Help: "A name for people to read in logs, and the host name. Who the domain is, the toolstack says.",
			set:  setName,
			get:  func(c Config) []string { return given(c.Name) },
		},
		serviceKey(builtin),
		{
			Name: "policy", Form: PolicyInStore + "|/DIRECTORY", Default: PolicyInStore,
			Help:    "Where the rules of a backend are: what the toolstack pushed, or files in the image.",
			Example: []string{"/etc/xvsock/policy.d"},
			set:     setPolicy,
			get:     func(c Config) []string { return given(c.Policy) },
		},
		budgetKey(),
		oneOf(Key{
			Name: "poll", Example: []string{"off"},
			Help: "Whether the daemon looks by itself for what other domains send, for moments in which that has just been quicker\n" +
				"than to be woken. That uses processor time; off, it always sleeps.",
		}, Toggle(true), []Toggle{true, false}, func(c *Config) *Toggle { return &c.Poll }),
		oneOf(Key{
			Name: "bridge", Example: []string{"off"},
			Help: "Whether programs of the domain reach others by the kernel's AF_VSOCK sockets, where its kernel has vhost_vsock.\n" +
				"The unix socket for programs is there in any case.",
		}, Toggle(true), []Toggle{true, false}, func(c *Config) *Toggle { return &c.Bridge }),
		denyKey(),
		doorModeKey(),
		doorGroupKey(),
		moduleKey(),
		oneOf(Key{
			Name: "log", Help: "The least level of what is logged.", Example: []string{"debug"},
		}, level(slog.LevelInfo),
			[]level{level(slog.LevelDebug), level(slog.LevelInfo), level(slog.LevelWarn), level(slog.LevelError)},
			func(c *Config) *level { return (*level)(&c.Log) }),
		oneOf(Key{
			Name: "panic", Example: []string{"halt"},
			Help: "What the domain does when it cannot go on. A shell needs one in the image; without it the domain halts.",
		}, Reboot, []Fatal{Reboot, Halt, Shell}, func(c *Config) *Fatal { return &c.Panic }),
		strictKey(),
	}}
}

// Keys returns the rows, in the order of the reference page.
func (t Table) Keys() []Key { return slices.Clone(t.keys) }

// defaults returns the configuration of a domain that was told nothing.
func (t Table) defaults() Config {
	c := Config{Services: slices.Clone(t.services), keys: t.keys, origin: map[string]string{}}
	for _, key := range t.keys {
		if key.Default != "" {
			// The defaults are ours; a test reads each of them.
			_, _ = key.set(&c, key.Default)
		}
	}
	return c
}

// find returns the row of a key, as source spells it.
func (t Table) find(source Source, name string) (Key, bool) {
	name, ok := strings.CutPrefix(name, source.Prefix)
	i := slices.IndexFunc(t.keys, func(k Key) bool { return k.Name == name })
	if i < 0 || !ok {
		return Key{}, false
	}
	return t.keys[i], true
}

// suggest says which key of source was probably meant.
func (t Table) suggest(source Source, name string) string {
	// The prefix is the same in all, so it would make all of them look near.
	short := make([]string, len(t.keys))
	for i, k := range t.keys {
		short[i] = k.Name
	}
	// Instead of its dot there may be another mark.
	bare := strings.TrimPrefix(strings.ToLower(name), strings.TrimSuffix(source.Prefix, "."))
	if best := Nearest(strings.TrimLeft(bare, "._-:/"), short); best != "" {
		return "did you mean " + source.Prefix + best + "?"
	}
	return "known are " + source.Prefix + strings.Join(short, ", "+source.Prefix)
}

// given is the list of one value, or an empty one for none.
func given(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// oneOf completes the row of a key that takes one of a few words.
func oneOf[T interface {
	comparable
	fmt.Stringer
}](key Key, def T, values []T, field func(*Config) *T) Key {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = v.String()
	}
	key.Form, key.Default = strings.Join(words, "|"), def.String()
	key.set = func(c *Config, value string) (string, error) {
		i := slices.Index(words, value)
		if i < 0 {
			return valueFix(value, words, key.Default), fmt.Errorf("not one of %s", strings.Join(words, ", "))
		}
		*field(c) = values[i]
		return "", nil
	}
	key.get = func(c Config) []string { return given((*field(&c)).String()) }
	return key
}

func valueFix(value string, words []string, def string) string {
	if best := Nearest(strings.ToLower(value), words); best != "" {
		return "did you mean " + best + "?"
	}
	return "the default is " + def
}

// level is slog.Level, spelt as the key log has it.
type level slog.Level

func (l level) String() string { return strings.ToLower(slog.Level(l).String()) }

// maxName is the longest host name that Linux takes (__NEW_UTS_LEN is 64; DNS
// says 63 for a label).
const maxName = 63

var errName = errors.New("a label is 1 to 63 letters, digits, dots, hyphens or underscores, the first a letter or digit")

func setName(c *Config, value string) (string, error) {
	if len(value) > maxName || !isWord(value, "-._") {
		return "the domain has no label", errName
	}
	c.Name = value
	return "", nil
}

// PolicyInStore is the value of the key policy for rules that are in xenstore.
const PolicyInStore = "xenstore"

func setPolicy(c *Config, value string) (string, error) {
	if value != PolicyInStore && !filepath.IsAbs(value) {
		return "the default is " + PolicyInStore, errors.New("neither " + PolicyInStore + " nor the path of a directory")
	}
	c.Policy = value
	return "", nil
}

// isWord reports whether s is letters, digits and bytes of others, and begins
// with a letter or digit.
func isWord(s, others string) bool {
	for i, b := range []byte(s) {
		letterOrDigit := b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9'
		if !letterOrDigit && (i == 0 || !strings.ContainsRune(others, rune(b))) {
			return false
		}
	}
	return s != ""
}
