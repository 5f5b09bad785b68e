package config

import (
	"fmt"
	"strings"
)

// word is one word of a command line.
type word struct {
	Setting
	quoted bool // it began with a quote, or its value did
	open   bool // it goes on to the end of the line, because a quote is not closed
}

// words splits a command line as the kernel does (next_arg in lib/cmdline.c):
// at blanks outside double quotes, and at the first = of a word. A quote before
// the whole word, or right after the =, is taken off together with one at the
// end; no other quote is, and a backslash means nothing. A word without = has
// an empty value. The kernel leaves what follows a lone -- to PID 1, which is
// who reads here, so it is a word like any other.
func words(line string) []word {
	var list []word
	for {
		line = strings.TrimLeftFunc(line, func(r rune) bool { return r < 0x80 && blank(byte(r)) })
		if line == "" {
			return list
		}
		quoted := line[0] == '"'
		if quoted {
			line = line[1:]
		}
		n, open := wordEnd(line, quoted)
		w := newWord(line[:n], quoted)
		w.open = open
		list = append(list, w)
		line = line[n:]
	}
}

// wordEnd returns the length of the word that line begins with, and whether it
// has no end because a quote is open.
func wordEnd(line string, inQuote bool) (n int, open bool) {
	for i, b := range []byte(line) {
		if b == '"' {
			inQuote = !inQuote
		}
		if blank(b) && !inQuote {
			return i, false
		}
	}
	return len(line), inQuote
}

// newWord takes the quotes from a word, of which the one before it is gone.
func newWord(text string, quoted bool) word {
	key, value, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		if quoted {
			key = strings.TrimSuffix(key, `"`)
		}
	case strings.HasPrefix(value, `"`):
		value = strings.TrimSuffix(value[1:], `"`)
		quoted = true
	case quoted:
		value = strings.TrimSuffix(value, `"`)
	}
	return word{Setting: Setting{Key: key, Value: value}, quoted: quoted}
}

// blank is the kernel's isspace for ASCII.
func blank(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }

// isOurs reports whether somebody meant the word for us. The kernel makes no
// difference between - and _ in its own parameters, which people remember where
// ours need a dot.
func (w word) isOurs() bool {
	ours := strings.TrimSuffix(Prefix, ".")
	return len(w.Key) >= len(ours) && strings.EqualFold(w.Key[:len(ours)], ours)
}

// runsProgram reports whether the word is the spec of a service that is a
// program.
func (w word) runsProgram() bool {
	parts := strings.SplitN(w.Value, ":", 4) // NAME:PORT:KIND[,OPTIONS]:/path args
	if w.Key != Prefix+"service" || len(parts) < 4 {
		return false
	}
	kind, _, _ := strings.Cut(parts[2], ",")
	return kind == Exec.String() || kind == ExecOnce.String()
}

// isStray reports whether nobody but a program can be meant by the word.
//
// The kernel hands what it does not know to PID 1 and says nothing: a word
// without = as an argument, one with it in the environment, and to nobody at all
// what has a dot in its name; all that follows a lone -- as arguments
// (unknown_bootoption and set_init_arg in init/main.c, parse_args in
// kernel/params.c). So a program's argument that is not quoted is lost without a
// word of anybody. Which of the words are the kernel's own, we cannot know; but
// none of these begins with - or /, and none has a blank in its name.
func (w word) isStray() bool {
	return w.Key != "--" && w.Key != "" && (w.Key[0] == '-' || w.Key[0] == '/' || strings.ContainsFunc(w.Key, func(r rune) bool {
		return r < 0x80 && blank(byte(r))
	}))
}

// checkQuotes says if a quote is not closed: all behind it is one word then.
func checkQuotes(source string, all []word) []Problem {
	if len(all) == 0 || !all[len(all)-1].open {
		return nil
	}
	last := all[len(all)-1]
	return []Problem{{
		Source: source,
		Reason: fmt.Sprintf("%s, so that all from %s on is one word", errQuotes, shown(last.Key)),
		Fix:    "quotes come in pairs, around a value or a whole word",
	}}
}

// checkArguments finds specs of programs whose arguments were not quoted, by what
// follows them, and says so once for each.
func checkArguments(source string, all []word) []Problem {
	var problems []Problem
	var spec *word // that has no argument behind it yet
	for i, w := range all {
		switch {
		case w.runsProgram() && !w.quoted:
			spec = &all[i]
		case spec != nil && w.isStray():
			problems = append(problems, Problem{
				Source: source, Key: spec.Key, Value: spec.Value,
				Reason: fmt.Sprintf("%s behind it is none of its arguments, because a blank ends a word", shown(w.Key)),
				Fix:    fmt.Sprintf(`not quoted? write %s="%.*s %.*s ..."`, spec.Key, maxShown, spec.Value, maxShown, w.Key),
			})
			spec = nil
		}
	}
	return problems
}
