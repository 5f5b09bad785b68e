package daemon_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bench"
	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/varlink"
	"xvsock/vsock"
)

// bench asks a daemon to measure, as the command does.
func (n *node) bench(ctx context.Context, args daemon.BenchArgs) (bench.Result, error) {
	near, far := net.Pipe()
	n.control.conns <- far
	c := varlink.NewClient(near, varlink.Limits{Idle: time.Hour})
	defer c.Close()
	var out daemon.BenchReply
	for reply, err := range c.Stream(ctx, daemon.MethodBench, args) {
		if err == nil {
			err = varlink.UnmarshalGrowing(reply, &out)
		}
		if err != nil {
			return bench.Result{}, err
		}
	}
	return out.Result, nil
}

// withBench has a daemon serve what every binary has built in.
func withBench(c *daemon.Config) { c.Services = daemon.Builtin() }

func TestADaemonMeasuresItsLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		web := start(t, h.create("web"), daemon.Frontend, withBench)
		db := start(t, h.create("db"), daemon.Frontend, nil)
		await(t, "db/discovery db/echo web/bench web/discovery web/echo", 5*time.Second, func() string {
			return strings.TrimPrefix(b.list(""), "Domain-0/discovery Domain-0/echo ")
		})
		for _, c := range []struct {
			at   *node
			args daemon.BenchArgs
			code string
		}{
			{b, daemon.BenchArgs{Domain: "web", Case: "rr", Size: 64, Count: 100}, ""},
			{b, daemon.BenchArgs{Domain: "1", Case: "stream", Size: 16384, Count: 100}, ""},
			{b, daemon.BenchArgs{Domain: "web", Case: "stream", Size: 16384, Count: 100, Reverse: true}, ""},
			{b, daemon.BenchArgs{Domain: "web", Port: 8, Case: "many", Size: 1000, Count: 20, Conns: 10, Bulk: 2, Seconds: 600}, ""},
			{b, daemon.BenchArgs{Domain: "web", Case: "connect", Count: 100}, ""},
			{db, daemon.BenchArgs{Domain: "web", Case: "rr", Size: 64, Count: 100, Conns: 20, Lot: 3}, ""},
			{web, daemon.BenchArgs{Domain: "self", Case: "rr", Size: 64, Count: 100}, ""},
			{web, daemon.BenchArgs{Domain: "db", Case: "rr", Size: 64, Count: 100}, "nobody serves port 8 there; start it with service=bench"},
			{web, daemon.BenchArgs{Domain: "db", Port: 9, Case: "rr", Size: 64, Count: 100}, "connection refused"},
			{web, daemon.BenchArgs{Domain: "nobody", Case: "rr", Size: 64, Count: 1}, "UnknownDomain"},
			{web, daemon.BenchArgs{Domain: "self", Case: "odd", Size: 64, Count: 1}, `no case`},
			{web, daemon.BenchArgs{Domain: "self", Case: "rr", Size: 64, Seconds: 1e300}, "use 1ms to 10m0s"},
			{web, daemon.BenchArgs{Domain: "self", Case: "rr", Size: 64, Seconds: -1e300}, "use 1ms to 10m0s"},
			{web, daemon.BenchArgs{Domain: "self", Port: 0xFFFFFFFF, Case: "rr", Size: 64, Count: 1}, "InvalidParameter"},
		} {
			r, err := c.at.bench(t.Context(), c.args)
			switch {
			case c.code != "":
				if err == nil || !strings.Contains(err.Error(), c.code) {
					t.Errorf("%+v: %v, want %q", c.args, err, c.code)
				}
			case c.args.Domain != "self" && r.Counts["notifies"] <= 0:
				t.Errorf("%+v: the link has counted %v", c.args, r.Counts)
			case err != nil || r.Count < c.args.Count || string(r.Case) != c.args.Case:
				t.Errorf("%+v: %+v, %v", c.args, r, err)
			}
		}
		b.rules.set("echo * * allow")
		if _, err := db.bench(t.Context(), daemon.BenchArgs{Domain: "web", Case: "rr", Size: 64, Count: 1}); code(err) != "Denied" {
			t.Errorf("without a rule: %v", err)
		}
	})
}

// One measurement at a time; it ends when its caller goes, and leaves nothing.
func TestAMeasurementIsItsCallersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		p := startPeer(t, h.create("web"))
		// It agrees to everything, and is slow.
		p.serve(t, services.PortBench, func(c *vsock.Conn) {
			io.ReadFull(c, make([]byte, 16))
			c.Write([]byte{0})
			message := make([]byte, 64)
			for {
				if _, err := io.ReadFull(c, message); err != nil {
					return
				}
				time.Sleep(time.Second)
				c.Write(message)
			}
		})
		<-p.links
		time.Sleep(time.Second)
		args := daemon.BenchArgs{Domain: "web", Case: "rr", Size: 64, Seconds: 500}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := b.bench(ctx, args)
			gone <- err
		}()
		time.Sleep(20 * time.Second)
		if _, err := b.bench(t.Context(), args); code(err) != "Failed" || !strings.Contains(err.Error(), "measures something else") {
			t.Errorf("a second one: %v", err)
		}
		cancel()
		<-gone
		time.Sleep(20 * time.Second)
		if n := b.status().Links[0].Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
		args.Count, args.Seconds = 5, 0
		if r, err := b.bench(t.Context(), args); err != nil || r.Count != 5 || r.Percentiles.P50 < 1e6 {
			t.Errorf("the next one: %+v, %v", r, err)
		}
	})
}
