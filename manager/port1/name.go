package port1

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// parseName reads a name out of its field: UTF-8 that can be printed, then
// zeros.
func parseName(b []byte) (string, error) {
	name := b
	if end := bytes.IndexByte(b, 0); end >= 0 {
		name = b[:end]
	}
	if err := checkZero(TypePeer, "name", b[len(name):]); err != nil {
		return "", err
	}
	for rest := name; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if !printable(r, n) {
			return "", &Error{TypePeer, "name", uint64(rest[0]), "not printable UTF-8"}
		}
		rest = rest[n:]
	}
	return string(name), nil
}

// printable reports whether a rune of n bytes may stand in a name: no control
// characters, and nothing that changes the order or the look of the text around
// it.
func printable(r rune, n int) bool {
	return unicode.IsPrint(r) && (r != utf8.RuneError || n > 1)
}

// appendName appends the field with as much of the name as may be in it.
func appendName(b []byte, name string) []byte {
	end := len(b) + MaxName
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		if !printable(r, n) {
			r = '?'
		}
		if len(b)+utf8.RuneLen(r) > end {
			break
		}
		b, name = utf8.AppendRune(b, r), name[n:]
	}
	for len(b) < end {
		b = append(b, 0)
	}
	return b
}
