package cli

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// loopback is the host of a tcp end that names none: who reaches a proxy speaks to
// what is behind it with the rights of this domain.
const loopback = "127.0.0.1"

// keepAlive finds a host that is gone within two minutes of silence (tcp(7)).
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 6}

// tcpEnd is a TCP port.
type tcpEnd struct{ address string }

// parseTCP reads [HOST:]PORT; of one to listen at, PORT may be 0, and HOST *, for all.
func parseTCP(text string, listen bool) (*tcpEnd, error) {
	fail := func(why string) (*tcpEnd, error) { return nil, fmt.Errorf("tcp:%.80s: %s", text, why) }
	host, port := "", text
	if strings.Contains(text, ":") {
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return fail("use tcp:HOST:PORT, and tcp:[HOST]:PORT for a host with colons")
		}
	}
	lowest := 1
	if listen {
		lowest = 0
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || int(n) < lowest || strconv.FormatUint(n, 10) != port {
		return fail(fmt.Sprintf("port %.20q: use a number from %d to 65535", port, lowest))
	}
	switch {
	case host == "":
		host = loopback
	case host == "*" && listen:
		host = ""
	case strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '*' }):
		return fail("no host has such a name")
	}
	return &tcpEnd{net.JoinHostPort(host, port)}, nil
}

// String implements fmt.Stringer.
func (e *tcpEnd) String() string {
	if strings.HasPrefix(e.address, ":") {
		return "tcp:*" + e.address
	}
	return "tcp:" + e.address
}

func (e *tcpEnd) listen(ctx context.Context) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive}
	return config.Listen(ctx, "tcp", e.address)
}

func (e *tcpEnd) dial(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	return dialer.DialContext(ctx, "tcp", e.address)
}
