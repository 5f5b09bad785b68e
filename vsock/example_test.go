package vsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xvsock/bridge/door"
	"xvsock/vsock"
)

// daemon stands for the daemon of domain 5, for as long as an example runs. A program
// leaves Door.Path empty, or uses vsock.Dial and vsock.Listen, and has no more to do.
func daemon() (d vsock.Door, stop func()) {
	dir, err := os.MkdirTemp("", "vsock")
	if err != nil {
		panic(err)
	}
	d = vsock.Door{Path: filepath.Join(dir, "vsock.sock")}
	s := door.New(door.Config{Path: d.Path, Resolve: func(_ context.Context, domain, port string) (vsock.Addr, error) {
		n, err := strconv.ParseUint(port, 10, 32)
		return vsock.Addr{CID: vsock.CIDSelf, Port: uint32(n)}, err // this host has one domain
	}})
	stack := vsock.NewStack(vsock.Config{Self: 5})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, stack) }()
	for _, err := os.Stat(d.Path); err != nil; _, err = os.Stat(d.Path) {
		time.Sleep(time.Millisecond)
	}
	return d, func() {
		cancel()
		<-ended
		stack.Close()
		os.RemoveAll(dir)
	}
}

// A program that answers on port 5000, and one that asks it.
func ExampleDoor() {
	d, stop := daemon()
	defer stop()

	l, err := d.Listen(context.Background(), 5000)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		question, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%s, %d bytes", strings.ToUpper(string(question)), len(question))
	}()

	c, err := d.DialContext(context.Background(), "db1:5000")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	io.WriteString(c, "hello")
	c.(interface{ CloseWrite() error }).CloseWrite() // no more to say, but to hear
	answer, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", answer, err)
	// Output: HELLO, 5 bytes <nil>
}

// What an error says, and how it is told apart.
func ExampleDoor_DialContext_errors() {
	d, stop := daemon()
	_, err := d.DialContext(context.Background(), "db1:1")
	fmt.Println(err)
	fmt.Println(errors.Is(err, syscall.EACCES))
	_, err = d.DialContext(context.Background(), "db1:9")
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED))
	stop()
	_, err = d.DialContext(context.Background(), "db1:9")
	fmt.Println(errors.Is(err, vsock.ErrNoDaemon))
	// Output:
	// dial vsock db1:1: port 1 is the connection manager's, not for programs: permission denied
	// true
	// true
	// true
}

// HTTP takes a listener and a DialContext as they are.
func ExampleDoor_http() {
	d, stop := daemon()
	defer stop()

	l, err := d.Listen(context.Background(), 8080)
	if err != nil {
		fmt.Println(err)
		return
	}
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "port 8080, asked for ", r.URL.Path)
	})}
	go server.Serve(l)
	defer server.Close()

	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return d.DialContext(ctx, address)
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	answer, err := client.Get("http://db1:8080/status")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	fmt.Printf("%s %v\n", body, err)
	// Output: port 8080, asked for /status <nil>
}

// gRPC's WithContextDialer takes vsock.DialContext as it is:
//
//	grpc.NewClient("passthrough:///db1:5000", grpc.WithContextDialer(vsock.DialContext), ...)
func ExampleDialContext() {
	withContextDialer := func(dial func(ctx context.Context, address string) (net.Conn, error)) { _ = dial }
	withContextDialer(vsock.DialContext)
}
