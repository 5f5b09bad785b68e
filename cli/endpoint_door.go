package cli

import (
	"context"
	"fmt"
	"net"
	"strings"

	"xvsock/services"
	"xvsock/vsock"
)

// maxDomain is the most bytes of what an address calls a domain: with a port it fits
// into a line to the daemon (hybrid.MaxLine).
const maxDomain = 200

// target is what can be connected to through the daemon: what a domain and its port
// are called is for the daemon to know.
type target struct{ domain, port string }

// String returns NAME:PORT.
func (t target) String() string { return t.domain + ":" + t.port }

// parseTarget reads NAME:PORT. A name may have colons, a port has none.
func parseTarget(text string) (target, error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return target{}, fmt.Errorf("%.80q has no port: use NAME:PORT, such as %.80s:22 or %[2]s:echo", text, wordOr(text, "db1"))
	}
	t := target{text[:i], text[i+1:]}
	switch {
	case t.domain == "":
		return target{}, fmt.Errorf("%.80q names no domain: use NAME:PORT, such as db1:22, self:22 or @backend:echo", text)
	case len(t.domain) > maxDomain:
		return target{}, fmt.Errorf("domain %.40q...: longer than %d bytes", t.domain, maxDomain)
	case strings.ContainsFunc(t.domain, func(c rune) bool { return c <= ' ' || c > '~' }):
		return target{}, fmt.Errorf("domain %.80q cannot be asked for by that name, which has a blank or is not ASCII: use its id or uuid", t.domain)
	}
	if _, err := services.ParsePort(t.port); err == nil {
		return t, nil
	}
	if err := services.CheckName(t.port); err != nil {
		return target{}, fmt.Errorf("port %.40q: use a number from 1 to 4294967294 or the name of a service", t.port)
	}
	return t, nil
}

// wordOr is text if it can stand in an example, else instead.
func wordOr(text, instead string) string {
	if plainWord(text) {
		return text
	}
	return instead
}

// parseListenPort reads a port of this domain to listen on; 0 is any.
func parseListenPort(text string) (uint32, error) {
	if text == "0" {
		return 0, nil
	}
	port, err := services.ParsePort(text)
	if err != nil {
		return 0, fmt.Errorf("port %.40q: use a number from 1 to 4294967294, the name of a well-known one, or 0 for any", text)
	}
	return port, nil
}

// doorListen is a port of this domain, had from its daemon.
type doorListen struct {
	door vsock.Door
	port uint32
}

// String implements fmt.Stringer.
func (e *doorListen) String() string { return fmt.Sprintf("xvsock:%d", e.port) }

func (e *doorListen) listen(ctx context.Context) (net.Listener, error) {
	l, err := e.door.Listen(ctx, e.port)
	if err != nil {
		return nil, listenError(e.port, err)
	}
	if addr, ok := l.Addr().(vsock.Addr); ok && e.port == 0 {
		e.port = addr.Port // to be had again
	}
	return l, nil
}

// doorDial is a port of some domain, reached through the daemon of this one.
type doorDial struct {
	door vsock.Door
	target
}

// String implements fmt.Stringer.
func (e *doorDial) String() string { return "xvsock:" + e.target.String() }

func (e *doorDial) dial(ctx context.Context) (net.Conn, error) {
	c, err := e.door.DialContext(ctx, e.target.String())
	if err != nil {
		return nil, connectError(e.target, err)
	}
	return c, nil
}
