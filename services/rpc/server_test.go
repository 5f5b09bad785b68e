package rpc_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/rpc"
	"xvsock/services/rpc/rpctest"
	"xvsock/services/varlink"
)

const (
	who    = `{"method":"org.example.Who"}`
	follow = `{"method":"org.example.Follow","more":true}`
)

// methods answers who is calling, and a stream that says so once.
func methods(s rpc.Session) varlink.Handler {
	answer := map[string]uint16{"domain": s.Caller.Domain}
	return varlink.Methods{
		"org.example.Who": func(context.Context, *varlink.Call) (any, error) { return answer, nil },
		"org.example.Follow": func(ctx context.Context, call *varlink.Call) (any, error) {
			end, err := s.Stream(call, &varlink.Error{Name: "org.example.LimitReached"})
			if err != nil {
				return nil, err
			}
			defer end()
			if err := call.Send(answer); err != nil {
				return nil, err
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
}

func start(t *testing.T, c rpc.Config) *rpctest.Listener {
	c.Identify = rpctest.Identify
	return rpctest.Start(t, rpc.New(c, methods))
}

func TestCallsAndStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, rpc.Config{Streams: 100})
		l.CheckPace(t, services.Caller{Domain: 5}, who)
		l.CheckStreams(t, follow, `"domain"`)
	})
}

func TestStreamsAreBoundedInAllAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, rpc.Config{Streams: 2})
		open := func(domain uint16, call, want string) net.Conn {
			conn, got := l.Dial(t, services.Caller{Domain: domain}), make([]byte, 200)
			io.WriteString(conn, call+"\n")
			if n, _ := conn.Read(got); !strings.Contains(string(got[:n]), want) {
				t.Errorf("a stream of domain %d: %q; want %s", domain, got[:n], want)
			}
			return conn
		}
		first := open(1, follow, "domain")
		open(2, follow, "domain")
		open(3, follow, "LimitReached")
		open(3, `{"method":"org.example.Follow"}`, "ExpectedMore")
		first.Close()
		synctest.Wait()
		open(3, follow, "domain")
	})
}

func TestConnectionsIdleAsLongAsTheyAreAdmittedFor(t *testing.T) {
	admit := func(c services.Caller, serve func(time.Duration)) {
		if c.Domain < 2 {
			serve(time.Duration(c.Domain) * time.Second)
		}
	}
	for _, c := range []struct {
		name   string
		admit  func(services.Caller, func(time.Duration))
		domain uint16
		want   time.Duration
	}{
		{"everybody", nil, 1, 5 * time.Minute},
		{"as usual", admit, 0, 5 * time.Minute},
		{"shortly", admit, 1, time.Second},
		{"not at all", admit, 2, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn := start(t, rpc.Config{Admit: c.admit}).Dial(t, services.Caller{Domain: c.domain})
			began := time.Now()
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF || time.Since(began) != c.want {
				t.Errorf("%s: %v after %v; want the end after %v", c.name, err, time.Since(began), c.want)
			}
		})
	}
}

func TestTheEndOfAConnectionIsLoggedIfItIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := start(t, rpc.Config{Name: "example", Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		l.Raw(services.Caller{Domain: 4}).Close()
		conn := l.Dial(t, services.Caller{Domain: 5})
		io.WriteString(conn, "garbage\n")
		io.Copy(io.Discard, conn)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="connection ended" service=example domain=5 error=`) {
			t.Errorf("logged %q", got)
		}
	})
}
