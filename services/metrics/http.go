package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const (
	// maxHead is the most bytes of a request's line and headers.
	maxHead = 4 << 10
	// silence is after which a caller that has sent nothing is given the bare text.
	silence = time.Second
	// headTime is how long a request may take, from the connection's begin.
	headTime = 5 * time.Second
)

// status is how a caller is answered: bare, or by HTTP (RFC 9110, 15).
type status int

const (
	bareText    status = 0
	httpOK      status = 200
	badRequest  status = 400
	notAllowed  status = 405
	unavailable status = 503
	// gone is a caller that is not answered.
	gone status = -1
)

// receive reads what the caller asks.
func receive(conn net.Conn) status {
	begun := time.Now()
	buffer := make([]byte, maxHead)
	for n := 0; n < len(buffer); {
		deadline := begun.Add(headTime)
		if n == 0 {
			deadline = begun.Add(silence)
		}
		if conn.SetReadDeadline(deadline) != nil {
			return gone
		}
		read, err := conn.Read(buffer[n:])
		n += read
		if s, whole := parse(buffer[:n]); whole {
			return s
		}
		switch {
		case err == nil:
		case n == 0 && (err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded)):
			return bareText
		case err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded):
			return badRequest
		default:
			return gone
		}
	}
	return badRequest
}

// parse looks at a request's line and headers as far as they have come, by RFC 9112,
// and says whether they are whole, or bad already. Every GET is for the text, whatever
// its target; bodies are not read. A line may end without CR, as RFC 9112, 2.2 allows.
func parse(head []byte) (s status, whole bool) {
	s = httpOK
	for first := true; ; first = false {
		line, rest, ended := bytes.Cut(head, []byte("\n"))
		if !ended {
			return 0, false
		}
		line, head = bytes.TrimSuffix(line, []byte("\r")), rest
		switch {
		case first:
			if s = requestLine(string(line)); s == badRequest {
				return badRequest, true
			}
		case len(line) == 0:
			return s, true
		case !headerLine(string(line)):
			return badRequest, true
		}
	}
}

// requestLine is a method, a target and the version of HTTP/1, with one blank between
// them.
func requestLine(line string) status {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	switch {
	case !token(method), !visible(target), version != "HTTP/1.1" && version != "HTTP/1.0":
		return badRequest
	case method != "GET":
		return notAllowed
	}
	return httpOK
}

// headerLine is a name, a colon and anything printable.
func headerLine(line string) bool {
	name, value, colon := strings.Cut(line, ":")
	return colon && token(name) && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F })
}

// token is what RFC 9110, 5.6.2 calls so: names of methods and headers.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// visible is text without blanks and control characters.
func visible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7F })
}

// header is what goes before the text. What is refused has no body, which a HEAD
// could not take.
func header(s status, length int) []byte {
	reason, more := "", ""
	switch s {
	case bareText:
		return nil
	case httpOK:
		reason, more = "OK", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
	case notAllowed:
		reason, more = "Method Not Allowed", "Allow: GET\r\n"
	case unavailable:
		reason, more = "Service Unavailable", "Retry-After: 1\r\n"
	default:
		reason = "Bad Request"
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n", s, reason, more, length)
}
