package services

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxName is the longest name of a service in bytes (RFC 6335, 5.1).
	MaxName = 15
	// MaxTxt is the most bytes that the keys and values of a service's txt may
	// take together.
	MaxTxt = 1024
	// MaxTxtKeys is the most keys of a txt.
	MaxTxtKeys = 32
	maxTxtKey  = 32
)

var (
	// ErrName says that a text is not the name of a service.
	ErrName = errors.New("bad service name")
	// ErrTxt says that a txt breaks CheckTxt.
	ErrTxt = errors.New("bad txt")
)

// CheckName returns an error wrapping ErrName unless s is a service name by
// RFC 6335, 5.1, in lower case: 1 to 15 of a-z, 0-9 and "-", at least one
// letter, no "-" at an end, no two in a row.
func CheckName(s string) error {
	if len(s) == 0 || len(s) > MaxName {
		return fmt.Errorf("%w: %d bytes, 1 to %d are allowed", ErrName, len(s), MaxName)
	}
	letter := false
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z':
			letter = true
		case '0' <= c && c <= '9', c == '-':
		default:
			return fmt.Errorf("%w: %.32q has other than a-z, 0-9 and -", ErrName, s)
		}
	}
	switch {
	case !letter:
		return fmt.Errorf("%w: %q has no letter", ErrName, s)
	case s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--"):
		return fmt.Errorf("%w: %q has a - at an end or two in a row", ErrName, s)
	}
	return nil
}

// CheckTxt returns an error wrapping ErrTxt unless txt is small and plain: at
// most MaxTxtKeys keys of 1 to 32 of a-z, 0-9, "-", "_" and ".", values of
// printable ASCII, MaxTxt bytes in all. Other domains show this text to
// people, so that nothing in it may steer a terminal or a log.
func CheckTxt(txt map[string]string) error {
	if len(txt) > MaxTxtKeys {
		return fmt.Errorf("%w: %d keys, %d are allowed", ErrTxt, len(txt), MaxTxtKeys)
	}
	total := 0
	for k, v := range txt {
		if len(k) == 0 || len(k) > maxTxtKey || strings.Trim(k, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			return fmt.Errorf("%w: key %.32q", ErrTxt, k)
		}
		if total += len(k) + len(v); total > MaxTxt {
			return fmt.Errorf("%w: more than %d bytes", ErrTxt, MaxTxt)
		}
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("%w: the value of %q is not printable ASCII", ErrTxt, k)
		}
	}
	return nil
}
