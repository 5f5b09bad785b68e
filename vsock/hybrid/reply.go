package hybrid

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	wordOK  = "OK"
	wordErr = "ERR"
)

// errnos are those that a server has a reason to name. A client takes any other for EIO.
var errnos = [...]syscall.Errno{
	syscall.EACCES, syscall.EADDRINUSE, syscall.EAGAIN, syscall.ECANCELED, syscall.ECONNABORTED,
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.EINVAL, syscall.EIO,
	syscall.EMFILE, syscall.ENETDOWN, syscall.ENFILE, syscall.ENOBUFS, syscall.ENODEV, syscall.ENOENT,
	syscall.ENOMEM, syscall.ENOTUNIQ, syscall.EOPNOTSUPP, syscall.EPERM, syscall.EPIPE, syscall.EPROTO,
	syscall.ESHUTDOWN, syscall.ETIMEDOUT,
}

// Error is a server's refusal.
type Error struct {
	Errno syscall.Errno
	Text  string // for people; may be empty
}

// Error implements error.
func (e *Error) Error() string {
	if e.Text == "" {
		return e.Errno.Error()
	}
	return e.Text
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }

// Line returns the refusal as a line with its newline. What of the text is not printable
// is escaped, and what does not fit cut off.
func (e *Error) Line() []byte {
	errno := e.Errno
	if !known(errno) {
		errno = syscall.EIO
	}
	line := append([]byte(wordErr+" "), unix.ErrnoName(errno)...)
	if e.Text != "" {
		line = append(append(line, ' '), escape(e.Text)...)
	}
	return append(line[:min(len(line), MaxLine-1)], '\n')
}

// escape makes text printable. Quotes stay as they are: names stand in them.
func escape(text string) string {
	quoted := strconv.QuoteToASCII(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func known(errno syscall.Errno) bool {
	for _, e := range errnos {
		if e == errno {
			return true
		}
	}
	return false
}

// ErrorOf makes a refusal of an error: with the errno that it wraps, or else other.
func ErrorOf(err error, other syscall.Errno) *Error {
	e := &Error{Errno: other, Text: err.Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != 0 {
		e.Errno = errno
	}
	return e
}

// OK is the line that answers CONNECT with the local port of the connection, and LISTEN
// with the port listened on.
func OK(port uint32) []byte { return fmt.Appendf(nil, "%s %d\n", wordOK, port) }

// Accepted is the line that answers ACCEPT with the other end's address.
func Accepted(cid, port uint32) []byte { return fmt.Appendf(nil, "%s %d %d\n", wordOK, cid, port) }

// ParseOK reads the answer to CONNECT or LISTEN, a line without its newline. The error is
// an *Error if the server refused, else it wraps ErrLine.
func ParseOK(line string) (port uint32, err error) {
	var n [1]uint32
	err = parse(line, n[:])
	return n[0], err
}

// ParseAccepted reads the answer to ACCEPT. Its errors are those of ParseOK.
func ParseAccepted(line string) (cid, port uint32, err error) {
	var n [2]uint32
	err = parse(line, n[:])
	return n[0], n[1], err
}

// parse reads an answer with so many numbers.
func parse(line string, numbers []uint32) error {
	words := strings.Split(line, " ")
	if words[0] == wordErr && len(words) > 1 {
		return parseError(line[len(wordErr)+1:])
	}
	if words[0] != wordOK || len(words) != 1+len(numbers) {
		return fmt.Errorf("%w: answer %.64q", ErrLine, line)
	}
	for i, word := range words[1:] {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			clear(numbers)
			return fmt.Errorf("%w: answer %.64q", ErrLine, line)
		}
		numbers[i] = uint32(n)
	}
	return nil
}

// parseError reads what follows ERR. A name that is not known is kept in the text.
func parseError(s string) *Error {
	name, text, _ := strings.Cut(s, " ")
	for _, errno := range errnos {
		if unix.ErrnoName(errno) == name {
			return &Error{Errno: errno, Text: text}
		}
	}
	return &Error{Errno: syscall.EIO, Text: s}
}
