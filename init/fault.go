package pid1

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fault is a failure that a person reads on a console they cannot type at, so
// it says what is wrong with which thing and what to do about it.
type Fault struct {
	Thing string // what failed, e.g. "module xen-gntalloc"
	Err   error  // why
	Fix   string // what to do; empty if there is nothing to say
}

// Error returns the fault on one line.
func (f *Fault) Error() string {
	if f.Fix == "" {
		return fmt.Sprintf("%s: %v", f.Thing, f.Err)
	}
	return fmt.Sprintf("%s: %v; %s", f.Thing, f.Err, f.Fix)
}

// Unwrap returns the reason.
func (f *Fault) Unwrap() error { return f.Err }

// maxLine bounds one console line in bytes. An error can carry what a peer or a
// payload wrote, and the console is slow.
const maxLine = 1000

// oneLine returns s fit for the console: bounded, and with everything that
// could move the cursor, start a new line or hide text spelt as an escape.
func oneLine(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if i >= maxLine {
			b.WriteString("...")
			break
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}
