package payload_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"xvsock/services"
	"xvsock/services/payload"
)

// Starts and stops of every kind, with the ends that a connection can have, leave
// nothing: no goroutine (goleak looks once more), no descriptor, no process, no file.
func TestAThousandCyclesLeaveNothing(t *testing.T) {
	cycles := 1000
	if testing.Short() {
		cycles = 100
	}
	dir := t.TempDir()
	echo := newTarget(t, "unix", filepath.Join(dir, "target"))
	sockets := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	c := payload.Config{Name: "kv", Port: 5000, Identify: identify, Dir: sockets, Log: log}
	kinds := []func() services.Service{
		func() services.Service { return payload.NewExec(c, []string{"/bin/cat"}) },
		func() services.Service {
			return payload.NewExec(c, []string{"/bin/sh", "-c", "echo a; echo b >&2; exit 3"})
		},
		func() services.Service { return payload.NewOnce(c, program(t, "server")) },
		func() services.Service { return payload.NewForward(c, "unix", filepath.Join(dir, "target")) },
	}
	for i := range 8 {
		cycle(t, kinds[i%len(kinds)](), i/2)
	}
	// What is opened once, such as the poller's descriptors, is open now.
	runtime.GC()
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for i := range cycles {
		cycle(t, kinds[i%len(kinds)](), i/len(kinds))
		for len(echo.ends) > 0 {
			<-echo.ends
		}
	}
	noChildren(t)
	await(t, "as many descriptors as before", func() bool { return openFiles(t) <= files })
	await(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines })
	if entries, err := os.ReadDir(sockets); err != nil || len(entries) > 0 {
		t.Errorf("files left: %v, %v", entries, err)
	}
}

// cycle starts a service, uses it once, in one of four ways, and stops it.
func cycle(t *testing.T, svc services.Service, how int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := newResult(func() error { return svc.Serve(ctx, l) })
	defer svc.(io.Closer).Close()
	defer ended()
	defer cancel()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, "x\n")
	switch how % 4 {
	case 0: // in order
		c.CloseWrite()
		io.Copy(io.Discard, c)
	case 1: // lost while it is used
		io.ReadFull(c, make([]byte, 1))
		reset(c)
	case 2: // cut by the service's end
		io.ReadFull(c, make([]byte, 1))
	case 3: // lost while the service ends
		reset(c)
	}
}
