package services_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"xvsock/services"
)

// Greeter is a whole service: it answers each line with a greeting.
type Greeter struct {
	word     string
	acceptor services.Acceptor
}

// NewGreeter returns a Greeter. A build of the binary that has it built in is given
// identify and log by the daemon.
func NewGreeter(word string, identify services.Identify, log *slog.Logger) *Greeter {
	g := &Greeter{word: word}
	g.acceptor = services.Acceptor{Handle: g.handle, Identify: identify, PerDomain: 4, Total: 64, Log: log}
	return g
}

// Prepare implements services.Preparer: without a word it is NOT_SERVING.
func (g *Greeter) Prepare(context.Context) error {
	if g.word == "" {
		return errors.New("no word to greet with")
	}
	return nil
}

// Serve implements services.Service.
func (g *Greeter) Serve(ctx context.Context, l net.Listener) error { return g.acceptor.Serve(ctx, l) }

// Counts implements services.Counter.
func (g *Greeter) Counts() (open, served, refused, panics uint64) { return g.acceptor.Counts() }

// handle serves one connection. Its peer may send anything, and nothing: a line has
// a bound, every wait a deadline.
func (g *Greeter) handle(_ context.Context, conn net.Conn, caller services.Caller) {
	const maxLine, patience = 256, 10 * time.Second
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, maxLine), maxLine)
	for {
		if conn.SetDeadline(time.Now().Add(patience)) != nil || !lines.Scan() {
			return
		}
		if _, err := fmt.Fprintf(conn, "%s, %s of %s\n", g.word, lines.Text(), caller.Name); err != nil {
			return
		}
	}
}

// A service knows nothing of Xen: here a supervisor runs it on TCP.
func Example() {
	addresses := make(chan string, 1)
	supervisor := services.NewSupervisor(services.Config{
		Listen: func(uint32) (net.Listener, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err == nil {
				addresses <- l.Addr().String()
			}
			return l, err
		},
	})
	anybody := func(net.Conn) (services.Caller, bool) { return services.Caller{Domain: 5, Name: "web"}, true }
	greeter := NewGreeter("Hello", anybody, nil)
	if err := supervisor.Add(services.Info{Name: "greeter", Port: 5000}, greeter); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- supervisor.Serve(ctx) }()

	conn, err := net.Dial("tcp", <-addresses)
	if err != nil {
		fmt.Println(err)
		return
	}
	io.WriteString(conn, "Ada\nGrace\n")
	conn.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(conn)
	fmt.Println(strings.TrimSpace(string(answer)))
	for _, s := range supervisor.Status() {
		fmt.Println(s.Name, s.State, s.Starts, s.Served)
	}
	stop()
	fmt.Println(<-ended)
	// Output:
	// Hello, Ada of web
	// Hello, Grace of web
	// greeter SERVING 1 1
	// <nil>
}
