package vsockgrpc

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"xvsock/examples/grpc/internal/doortest"
	"xvsock/vsock"
)

// server is a gRPC server with the health service.
type server struct {
	*grpc.Server
	mu     sync.Mutex
	caller vsock.Addr // of the last call
	known  bool
}

// serve starts a server on a port of the door's domain.
func serve(t *testing.T, door vsock.Door, port uint32) *server {
	t.Helper()
	l, err := door.Listen(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l)
}

func serveOn(t *testing.T, l net.Listener) *server {
	t.Helper()
	s := &server{}
	s.Server = grpc.NewServer(append(ServerOptions(), grpc.UnaryInterceptor(
		func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			s.mu.Lock()
			s.caller, s.known = Caller(ctx)
			s.mu.Unlock()
			return handle(ctx, request)
		}))...)
	healthpb.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	return s
}

// client makes a client with the door.
func client(t *testing.T, door vsock.Door, target string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := NewClientAt(door, target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask asks for the health of the server.
func ask(t *testing.T, conn *grpc.ClientConn, within time.Duration, options ...grpc.CallOption) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, options...)
	if err == nil && answer.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("the server is %v", answer.Status)
	}
	return err
}

// The limits of calls that are meant to succeed, or to fail by themselves.
const soon = 10 * time.Second

func TestACallReachesTheServerThroughTheDoor(t *testing.T) {
	fake := doortest.Start(t)
	door := vsock.Door{Path: fake.Path}
	s := serve(t, door, 7000)
	t.Setenv("HTTPS_PROXY", "http://192.0.2.1:3128") // not to be asked
	conn := client(t, door, "xvsock:///db1:7000")
	for range 3 {
		if err := ask(t, conn, soon); err != nil {
			t.Fatal(err)
		}
	}
	if n := fake.Dialled(); n != 1 {
		t.Errorf("three calls made %d connections", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := (vsock.Addr{CID: doortest.CallerCID, Port: doortest.CallerPort}); !s.known || s.caller != want {
		t.Errorf("the server sees %v, %v; want %v", s.caller, s.known, want)
	}
}

func TestACallOverTCPHasNoDomain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, l)
	tcp := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
	conn := client(t, vsock.Door{}, "xvsock:///db1:7000", grpc.WithContextDialer(tcp))
	if err := ask(t, conn, soon); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known {
		t.Errorf("a TCP client is taken for domain %v", s.caller)
	}
	if _, ok := Caller(t.Context()); ok {
		t.Error("a context without a call has a caller")
	}
}

func TestWhatKeepsACallOutIsSaid(t *testing.T) {
	for _, c := range []struct{ name, errno, text, want string }{
		{"denied", "EACCES", "permission denied", "permission denied"},
		{"no such domain", "EHOSTUNREACH", "no route to host", "no route to host"},
		{"nobody listens", "ECONNREFUSED", "connection refused", "connection refused"},
		{"no answer", "ETIMEDOUT", "connection timed out", "timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := doortest.Start(t)
			fake.Answer("db1:7000", c.errno, c.text)
			conn := client(t, vsock.Door{Path: fake.Path}, "xvsock:///db1:7000")
			err := ask(t, conn, soon)
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the call ends with %v", err)
			}
		})
	}
}

func TestWithoutADaemonTheDoorIsNamed(t *testing.T) {
	path := t.TempDir() + "/none.sock"
	err := ask(t, client(t, vsock.Door{Path: path}, "xvsock:///db1:7000"), soon)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), path) {
		t.Errorf("the call ends with %v", err)
	}
}

func TestACallThatWaitsIsLetInWithTheRule(t *testing.T) {
	fake := doortest.Start(t)
	door := vsock.Door{Path: fake.Path}
	serve(t, door, 7000)
	fake.Answer("db1:7000", "EACCES", "permission denied")
	conn := client(t, door, "xvsock:///db1:7000")
	err := ask(t, conn, 200*time.Millisecond, grpc.WaitForReady(true))
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a call that waits in vain ends with %v", err)
	}
	fake.Answer("db1:7000", "", "")
	if err := ask(t, conn, soon, grpc.WaitForReady(true)); err != nil {
		t.Errorf("a call that waits, after the rule: %v", err)
	}
}

func TestALostConnectionEndsItsCallsAndTheNextMakesANewOne(t *testing.T) {
	fake := doortest.Start(t)
	door := vsock.Door{Path: fake.Path}
	serve(t, door, 7000)
	conn := client(t, door, "xvsock:///db1:7000")
	stream, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	fake.Lose()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a call that was under way ends with %v", err)
	}
	serve(t, door, 7000) // as after a reboot
	if err := ask(t, conn, soon, grpc.WaitForReady(true)); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if n := fake.Dialled(); n < 2 {
		t.Errorf("%d connections were made", n)
	}
}

func TestADeadlineHoldsWithAServerThatHangs(t *testing.T) {
	fake := doortest.Start(t)
	fake.Silence("db1:7000")
	conn := client(t, vsock.Door{Path: fake.Path}, "xvsock:///db1:7000")
	if err := ask(t, conn, 200*time.Millisecond); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the call ends with %v", err)
	}
}

// mute is a listener whose connections can be made to hang: from then on they read
// nothing and write nothing.
type mute struct {
	net.Listener
	hung chan struct{}
}

func (m *mute) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &muted{Conn: c, hung: m.hung, closed: make(chan struct{})}, nil
}

type muted struct {
	net.Conn
	hung   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (m *muted) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	select {
	case <-m.hung:
		<-m.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (m *muted) Close() error {
	m.once.Do(func() { close(m.closed) })
	return m.Conn.Close()
}

func TestPingsFindAServerThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("gRPC pings every 10 s at the most")
	}
	t.Parallel()
	fake := doortest.Start(t)
	door := vsock.Door{Path: fake.Path}
	l, err := door.Listen(t.Context(), 7000)
	if err != nil {
		t.Fatal(err)
	}
	m := &mute{Listener: l, hung: make(chan struct{})}
	serveOn(t, m)
	conn := client(t, door, "xvsock:///db1:7000",
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: time.Second}))
	stream, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	close(m.hung)
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "keepalive") {
		t.Errorf("the call ends with %v", err)
	}
}

func TestTheServerBearsTheClientsPings(t *testing.T) {
	if testing.Short() {
		t.Skip("gRPC pings every 10 s at the most")
	}
	t.Parallel()
	fake := doortest.Start(t)
	door := vsock.Door{Path: fake.Path}
	serve(t, door, 7000)
	conn := client(t, door, "xvsock:///db1:7000",
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}))
	// Long enough for four pings. It would not survive the third.
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	// Either end may be the first to see the deadline, and the server calls it Canceled.
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Canceled {
		t.Errorf("a call with pings ends with %v", err)
	}
}

func TestATargetThatIsNoneIsAnErrorAtOnce(t *testing.T) {
	for _, target := range []string{
		"", "db1:7000", "dns:///db1:7000", "xvsock:///db1", "xvsock:///:7000", "xvsock:///db1:",
		"xvsock:///a:b:", "xvsock://db1:7000", "xvsock:///db1/7000:1", "xvsock:///db%201:7000", "xvsock:///a%0ab:1", "xvsock:///%zz:1",
		"xvsock:7:7000", "xvsock:///:",
	} {
		conn, err := NewClient(target)
		if err == nil {
			conn.Close()
			t.Errorf("%q is taken", target)
			continue
		}
		if !strings.Contains(err.Error(), "xvsock:///") {
			t.Errorf("%q: %v does not say what is wanted", target, err)
		}
	}
}

func TestATargetWithTwoSlashesIsToldTheThird(t *testing.T) {
	_, err := NewClient("xvsock://db1:7000")
	if err == nil || !strings.Contains(err.Error(), "want xvsock:///db1:7000") {
		t.Errorf("NewClient = %v", err)
	}
}

func TestATargetReachesTheDoorAsItIsWritten(t *testing.T) {
	for target, address := range map[string]string{
		"xvsock:///db1:7000":      "db1:7000",
		"xvsock:///@backend:echo": "@backend:echo",
		"xvsock:///0x7FF1:7":      "0x7FF1:7",
		"xvsock:///a:b:7":         "a:b:7", // a name may have colons: the last one counts
		"xvsock:///a%3Ab:echo":    "a:b:echo",
	} {
		asked := make(chan string, 1)
		dialer := func(_ context.Context, a string) (net.Conn, error) {
			select {
			case asked <- a:
			default:
			}
			return nil, net.ErrClosed
		}
		conn, err := NewClient(target, grpc.WithContextDialer(dialer))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := ask(t, conn, soon); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", target, err)
		}
		if got := <-asked; got != address {
			t.Errorf("%s is dialled as %q", target, got)
		}
		conn.Close()
	}
}
