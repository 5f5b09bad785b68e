// Package hybrid is what is spoken at the daemon's unix sockets before a stream begins:
// the hybrid-vsock dialect, as Firecracker, Cloud Hypervisor and systemd-ssh-proxy speak
// it, with a domain added and a word to listen by. PROTOCOL.md has it in whole.
//
// All of it is lines of printable ASCII of at most MaxLine bytes, fields separated by one
// blank:
//
//	CONNECT <domain> <port>   ->  OK <local port>          and then the stream
//	CONNECT <port>            ->  the same, at a peer's own socket
//	LISTEN <port>             ->  OK <port>
//	ACCEPT                    ->  OK <cid> <port>          with a descriptor: the stream
//	anything                  ->  ERR <errno name> <text>  and the end
//
// Lines come from others and prove nothing: what a parser returns is well formed, and no
// more than that.
package hybrid

import (
	"errors"
	"fmt"
	"io"
)

// MaxLine is the most bytes of a line, its newline among them.
const MaxLine = 256

// MaxAccepts is how many ACCEPTs a client may have unanswered.
const MaxAccepts = 16

// ErrLine says that something is no line of the dialect.
var ErrLine = errors.New("not a line of the vsock dialect")

// ReadLine reads a line and returns it without its newline. It reads no byte behind that:
// what follows may be the stream's. An end before the first byte is io.EOF, a later one
// io.ErrUnexpectedEOF; a line that is too long or not printable gives an error that wraps
// ErrLine as soon as that is seen. The caller sees to a deadline.
func ReadLine(r io.Reader) (string, error) {
	var line [MaxLine]byte
	for n := range line {
		if _, err := io.ReadFull(r, line[n:n+1]); err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		switch c := line[n]; {
		case c == '\n':
			return string(line[:n]), nil
		case !printable(c):
			return "", fmt.Errorf("%w: byte 0x%02x in it", ErrLine, c)
		}
	}
	return "", fmt.Errorf("%w: longer than %d bytes", ErrLine, MaxLine)
}

// printable reports whether a line may have c in it.
func printable(c byte) bool { return ' ' <= c && c <= '~' }

// field checks what is to stand between blanks.
func field(what, s string) error {
	if s == "" {
		return fmt.Errorf("%w: no %s given", ErrLine, what)
	}
	for i := range len(s) {
		if !printable(s[i]) || s[i] == ' ' {
			return fmt.Errorf("%w: %.64q cannot be a %s", ErrLine, s, what)
		}
	}
	return nil
}
