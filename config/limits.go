package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// limit is a number that a name may be given, from 1 up.
type limit struct {
	name string
	most int
}

// budgets are those of the connection manager, with what it takes at most.
func budgets() []limit {
	return []limit{
		{"requests", 10_000},      // a second
		{"burst", 100_000},        // requests at once
		{"half-open", 1024},       // requests that wait for their responders
		{"links", 256},            // to peers
		{"connections", 65536},    // over the front link
		{"registrations", 10_000}, // a second
	}
}

// namesOf lists the names of limits.
func namesOf(all []limit) []string {
	names := make([]string, len(all))
	for i, l := range all {
		names[i] = l.name
	}
	return names
}

// parseLimit reads NAME=N. what says in words what the limits are.
func parseLimit(all []limit, what, text string) (name string, n int, fix string, err error) {
	name, number, hasNumber := strings.Cut(text, "=")
	names := namesOf(all)
	i := slices.Index(names, name)
	switch {
	case i < 0:
		fix = what + "s are " + strings.Join(names, ", ")
		if best := Nearest(strings.ToLower(name), names); best != "" {
			fix = "did you mean " + best + "?"
		}
		return "", 0, fix, fmt.Errorf("unknown %s %s", what, shown(name))
	case !hasNumber:
		return "", 0, "write " + name + "=N", fmt.Errorf("%s %s has no number", what, name)
	}
	fix = fmt.Sprintf("it is a number from 1 to %d", all[i].most)
	if n, err = parseNumber(name, number); err == nil && (n < 1 || n > all[i].most) {
		err = fmt.Errorf("%s %d is out of range", name, n)
	}
	return name, n, fix, err
}

// parseNumber reads a number in decimal digits. The error calls it what.
func parseNumber(what, text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s %s is out of range", what, shown(text))
	case err != nil || strconv.FormatUint(n, 10) != text:
		return 0, fmt.Errorf("%s %s is not a number", what, shown(text))
	}
	return int(n), nil
}

// budgetKey makes the row of budget.
func budgetKey() Key {
	all := budgets()
	return Key{
		Name: "budget", Form: "NAME=N", Repeat: true, Example: []string{"requests=100", "links=16"},
		Help: "What each frontend of a backend may use: " + strings.Join(namesOf(all), ", ") + ".\n" +
			"What is not given is as `xvsock backend --help` says.",
		set: func(c *Config, value string) (string, error) {
			name, n, fix, err := parseLimit(all, "budget", value)
			if err != nil {
				return fix, err
			}
			if was, ok := c.Budgets[name]; ok {
				return fmt.Sprintf("%d counts", was), fmt.Errorf("budget %s is given twice", name)
			}
			if c.Budgets == nil {
				c.Budgets = make(map[string]int, len(all))
			}
			c.Budgets[name] = n
			return "", nil
		},
		get: func(c Config) (list []string) {
			for _, b := range all {
				if n, ok := c.Budgets[b.name]; ok {
					list = append(list, fmt.Sprintf("%s=%d", b.name, n))
				}
			}
			return list
		},
	}
}

const (
	// maxModules bounds how many modules are loaded beside our own.
	maxModules = 32
	// maxModule is the longest name of a module in Linux (MODULE_NAME_LEN is 56
	// with its NUL, include/linux/moduleparam.h).
	maxModule = 55
)

// moduleKey makes the row of module.
func moduleKey() Key {
	return Key{
		Name: "module", Form: "NAME", Repeat: true, Example: []string{"loop"},
		Help: "A kernel module to load, with those that it needs. The drivers for Xen are loaded without being named.",
		set: func(c *Config, value string) (string, error) {
			switch {
			case len(value) > maxModule || !isWord(value, "-_"):
				return "write the name alone, as modprobe takes it",
					fmt.Errorf("the name of a module is 1 to %d letters, digits, hyphens or underscores", maxModule)
			case slices.Contains(c.Modules, value):
				return "", nil
			case len(c.Modules) >= maxModules:
				return "", fmt.Errorf("more than %d modules", maxModules)
			}
			c.Modules = append(c.Modules, value)
			return "", nil
		},
		get: func(c Config) []string { return slices.Clone(c.Modules) },
	}
}

// strictKey makes the row of strict.
func strictKey() Key {
	const yes, no = "1", "0"
	return Key{
		Name: "strict", Form: no + "|" + yes, Default: no, Example: []string{yes},
		Help: "With 1, also spelt true, the boot fails if anything is wrong with the settings.",
		set: func(c *Config, value string) (string, error) {
			switch value {
			case yes, "true":
				c.Strict = true
			case no, "false":
				c.Strict = false
			default:
				return "the default is " + no, errors.New("not one of 0, 1, true, false")
			}
			return "", nil
		},
		get: func(c Config) []string {
			if c.Strict {
				return given(yes)
			}
			return given(no)
		},
	}
}
