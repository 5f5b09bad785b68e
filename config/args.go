package config

import (
	"errors"
	"strings"
)

// errQuotes says that a double quote has no partner.
var errQuotes = errors.New("a double quote is not closed")

// splitArgs splits a command at blanks. Double quotes group, also in the middle
// of an argument, and there is no other way to quote: no shell is in between.
func splitArgs(command string) ([]string, error) {
	var args []string
	var arg strings.Builder
	inQuote, begun := false, false
	for _, b := range []byte(command) {
		switch {
		case b == '"':
			inQuote, begun = !inQuote, true
		case blank(b) && !inQuote:
			if begun {
				args = append(args, arg.String())
			}
			arg.Reset()
			begun = false
		default:
			arg.WriteByte(b)
			begun = true
		}
	}
	if inQuote {
		return nil, errQuotes
	}
	if begun {
		args = append(args, arg.String())
	}
	return args, nil
}

// joinArgs is the reverse of splitArgs. No argument has a double quote in it.
func joinArgs(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; a == "" || strings.ContainsFunc(a, func(r rune) bool { return r < 0x80 && blank(byte(r)) }) {
			quoted[i] = `"` + a + `"`
		}
	}
	return strings.Join(quoted, " ")
}
