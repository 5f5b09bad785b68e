package bench_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bench"
	"xvsock/services"
	"xvsock/services/rpc/rpctest"
)

// hello is what a client says first.
func hello(kind byte, size, seconds uint32) []byte {
	b := append([]byte("xvb1"), kind, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, size)
	return binary.LittleEndian.AppendUint32(b, seconds)
}

// yes is a server that agrees to a connection and then does as it likes.
func yes(then func(c net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		io.ReadFull(c, make([]byte, 16))
		c.Write([]byte{0})
		then(c)
	}
}

// sums is a server that takes everything and then says that it has counted otherwise.
func sums(bytes func(n uint64) uint64, took uint64) func(net.Conn) {
	return yes(func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		b := binary.LittleEndian.AppendUint64(nil, bytes(uint64(n)))
		c.Write(binary.LittleEndian.AppendUint64(b, took))
	})
}

// silent takes everything and says nothing.
func silent(c net.Conn) { io.Copy(io.Discard, c) }

// blocked does nothing for as long as any client waits.
func blocked(net.Conn) { time.Sleep(time.Minute) }

// firstForever answers every message by the first one.
func firstForever(c net.Conn) {
	first := make([]byte, 64)
	io.ReadFull(c, first)
	for err := error(nil); err == nil; _, err = io.ReadFull(c, make([]byte, 64)) {
		c.Write(first)
	}
}

func same(n uint64) uint64 { return n }

// Whatever a server does, the client ends in time and says what was wrong.
func TestAServerThatLiesIsFoundOut(t *testing.T) {
	trips := bench.Plan{Case: bench.RoundTrip, Size: 64, Count: 100}
	stream := bench.Plan{Case: bench.Stream, Size: 1000, Count: 100}
	for name, c := range map[string]struct {
		plan   bench.Plan
		server func(net.Conn)
		want   string
	}{
		"it closes at once":          {trips, func(net.Conn) {}, bench.ErrNotBench.Error()},
		"it says something else":     {trips, func(c net.Conn) { io.ReadFull(c, make([]byte, 16)); c.Write([]byte("SSH-2.0")) }, "it says 0x53"},
		"it has no memory":           {trips, func(c net.Conn) { io.ReadFull(c, make([]byte, 16)); c.Write([]byte{1}) }, bench.ErrFull.Error()},
		"it never answers":           {trips, silent, "nothing moves any more: nothing for 10s"},
		"it reads nothing at all":    {trips, blocked, "nothing moves any more"},
		"it agrees and is silent":    {trips, yes(silent), "nothing moves any more"},
		"it sends other bytes":       {trips, yes(func(c net.Conn) { io.ReadFull(c, make([]byte, 64)); c.Write(make([]byte, 64)); silent(c) }), "round trip 1: other bytes came back"},
		"it sends the first forever": {trips, yes(firstForever), "round trip 2: other bytes came back"},
		"it sends half a message":    {trips, yes(func(c net.Conn) { io.ReadFull(c, make([]byte, 64)); c.Write(make([]byte, 32)) }), "round trip 1: unexpected EOF"},
		"it counts too few":          {stream, sums(func(n uint64) uint64 { return n - 1 }, 1), "counted otherwise than was sent: 99999 bytes of 100000"},
		"it counts too many":         {stream, sums(func(n uint64) uint64 { return n + 1 }, 1), "100001 bytes of 100000"},
		"it counts far too many":     {stream, sums(func(uint64) uint64 { return 1 << 63 }, 1), "counted otherwise"},
		"it took longer than all":    {stream, sums(same, 1<<40), "which all in all took"},
		"it took less than nothing":  {stream, sums(same, 1<<63), "counted otherwise"},
		"it does not say the count":  {stream, yes(func(c net.Conn) { io.Copy(io.Discard, c); c.Write(make([]byte, 15)) }), "what the receiver counted: unexpected EOF"},
		"it takes a bit of a stream": {stream, yes(func(c net.Conn) { io.ReadFull(c, make([]byte, 1500)); blocked(c) }), "nothing moves any more"},
		"its source is dry":          {bench.Plan{Case: bench.Stream, Size: 1000, Count: 100, Reverse: true}, yes(silent), "nothing moves any more"},
		"its source ends":            {bench.Plan{Case: bench.Stream, Size: 1000, Count: 100, Reverse: true}, yes(func(c net.Conn) { c.Write(make([]byte, 5000)) }), "stream: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				_, err := bench.Run(t.Context(), against(c.server), c.plan, nil)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if took := time.Since(begin); took > 20*time.Second {
					t.Errorf("it took %v", took)
				}
				time.Sleep(2 * time.Minute) // which ends the servers
			})
		})
	}
}

// ask connects to a server in memory.
func ask(t *testing.T, l *rpctest.Listener, domain uint16, first []byte) net.Conn {
	t.Helper()
	c := l.Dial(t, services.Caller{Domain: domain})
	go c.Write(first) // of which the server may not take all
	return c
}

// A client that says anything else than a hello gets no answer and loses the connection.
func TestAClientThatLiesLosesItsConnection(t *testing.T) {
	good := hello(1, 64, 10)
	with := func(at int, b byte) []byte { h := hello(1, 64, 10); h[at] = b; return h }
	for name, c := range map[string]struct {
		first  []byte
		within time.Duration
	}{
		"another protocol":      {[]byte("GET / HTTP/1.1\r\n\r\n"), 0},
		"another version":       {with(3, '2'), 0},
		"no kind":               {with(4, 0), 0},
		"a kind that is not":    {with(4, 4), 0},
		"something for nothing": {with(6, 1), 0},
		"no size":               {hello(1, 0, 10), 0},
		"too large a message":   {hello(1, bench.MaxSize+1, 10), 0},
		"the largest number":    {hello(1, 1<<32-1, 10), 0},
		"no time":               {hello(1, 64, 0), 0},
		"too long a time":       {hello(1, 64, 1001), 0},
		"half a hello":          {good[:15], 10 * time.Second},
		"nothing":               {nil, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := rpctest.Start(t, bench.NewServer(bench.Config{Identify: rpctest.Identify}))
				begin := time.Now()
				if b, err := io.ReadAll(ask(t, l, 5, c.first)); len(b) > 0 || err != nil {
					t.Errorf("%q, %v", b, err)
				}
				if took := time.Since(begin); took != c.within {
					t.Errorf("it took %v, want %v", took, c.within)
				}
			})
		})
	}
}

// A connection ends when it has said that it would, whatever it waits for.
func TestAConnectionLastsAsLongAsItHasSaid(t *testing.T) {
	for name, c := range map[string]struct {
		kind byte
		use  func(net.Conn)
	}{
		"an echo that is not used":          {1, func(net.Conn) {}},
		"an echo of half a message":         {1, func(c net.Conn) { c.Write(make([]byte, 10)) }},
		"an echo whose answer nobody takes": {1, func(c net.Conn) { c.Write(make([]byte, 64)) }},
		"a sink that gets nothing":          {2, func(net.Conn) {}},
		"a sink that is fed forever": {2, func(c net.Conn) {
			for err := error(nil); err == nil; _, err = c.Write(make([]byte, 64)) {
				time.Sleep(10 * time.Millisecond)
			}
		}},
		"a source that nobody reads": {3, func(net.Conn) {}},
		"a source that is read forever": {3, func(c net.Conn) {
			for err := error(nil); err == nil; _, err = c.Read(make([]byte, 64)) {
				time.Sleep(10 * time.Millisecond)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := bench.NewServer(bench.Config{Identify: rpctest.Identify})
				conn := ask(t, rpctest.Start(t, s), 5, hello(c.kind, 64, 7))
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				go c.use(conn)
				time.Sleep(7*time.Second - time.Millisecond)
				if open, _, _, _ := s.Counts(); open != 1 {
					t.Error("it has ended early")
				}
				time.Sleep(time.Second)
				if open, _, _, _ := s.Counts(); open != 0 {
					t.Error("it goes on")
				}
			})
		})
	}
}

func TestMemoryAndConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bench.NewServer(bench.Config{Identify: rpctest.Identify, Memory: 3 * bench.MaxSize, PerDomain: 5, Total: 7})
		l := rpctest.Start(t, s)
		var conns []net.Conn
		for i, want := range []struct {
			domain uint16
			size   uint32
			answer string
		}{
			{5, bench.MaxSize, "\x00"}, {5, bench.MaxSize, "\x00"}, {6, bench.MaxSize, "\x00"},
			{6, 1, "\x01"}, // no byte is left, not even for another domain
		} {
			c := ask(t, l, want.domain, hello(1, want.size, 100))
			b := make([]byte, 1)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != want.answer {
				t.Errorf("connection %d: %q, %v", i, b, err)
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			c.Close()
		}
		synctest.Wait()
		again, b := ask(t, l, 6, hello(1, bench.MaxSize, 100)), []byte{9}
		if io.ReadFull(again, b); b[0] != 0 {
			t.Error("the memory is not given back")
		}
		again.Close()
		synctest.Wait()
		for range 5 {
			ask(t, l, 5, hello(2, bench.MaxSize, 100)) // whose buffer is a small one
		}
		synctest.Wait()
		if b, _ := io.ReadAll(ask(t, l, 5, hello(2, 1, 100))); len(b) > 0 {
			t.Error("a domain has more connections than it may")
		}
		ask(t, l, 6, hello(2, 1, 100))
		ask(t, l, 7, hello(2, 1, 100))
		synctest.Wait()
		if open, _, refused, _ := s.Counts(); open != 7 || refused != 1 {
			t.Errorf("%d are open and %d refused", open, refused)
		}
	})
}

// A connection that cannot say where its stream ends is not used for one.
func TestAStreamNeedsHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := rpctest.Start(t, bench.NewServer(bench.Config{Identify: rpctest.Identify}))
		_, err := bench.Run(t.Context(), func(context.Context) (net.Conn, error) {
			return l.Dial(t, services.Caller{Domain: 5}), nil
		}, bench.Plan{Case: bench.Stream, Size: 64, Count: 1}, nil)
		if err == nil || !strings.Contains(err.Error(), "cannot end one direction alone") {
			t.Error(err)
		}
	})
}
