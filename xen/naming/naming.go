// Package naming is how people call domains: patterns for names, uuids and tags, by
// the same rules wherever one is read.
package naming

import (
	"strings"
	"unicode/utf8"
)

// Match reports whether the pattern is one for all of the name: "*" stands for any
// characters, "?" for any one, all else for itself. The time it takes is at most the
// product of their lengths.
func Match(pattern, name string) bool {
	star, resume := -1, 0 // the last * seen, and the name's rest to try next after it
	p, n := 0, 0
	for n < len(name) {
		_, size := utf8.DecodeRuneInString(name[n:])
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, n
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			n += size
		case strings.HasPrefix(pattern[p:], name[n:n+size]):
			p += size
			n += size
		case star >= 0:
			_, size = utf8.DecodeRuneInString(name[resume:])
			resume += size
			p, n = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// IsUUID reports whether text is a uuid as RFC 9562 writes it, in either case.
func IsUUID(text string) bool {
	const form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if len(text) != len(form) {
		return false
	}
	for i := range len(text) {
		if dash := form[i] == '-'; dash != (text[i] == '-') || !dash && !strings.Contains("0123456789abcdefABCDEF", text[i:i+1]) {
			return false
		}
	}
	return true
}

// MaxTag is the most bytes of a tag.
const MaxTag = 32

// IsTag reports whether text can be a tag: 1 to MaxTag of A-Z a-z 0-9 . _ -
func IsTag(text string) bool {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	return text != "" && len(text) <= MaxTag && strings.Trim(text, plain) == ""
}
