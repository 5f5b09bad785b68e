package logs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services/logs"
	"xvsock/services/varlink"
)

const invalid = `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":`

func line(position int) string {
	return fmt.Sprintf(`{"position":%d,"t":0,"level":"INFO","text":"msg=%d"}`, position, position)
}

// The bytes of a conversation, as PROTOCOL tells them to other languages: a log of
// three lines that has come to position 5.
func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 3)
		for i := range 5 {
			p.log.Info(fmt.Sprint(i))
		}
		conn := p.Dial(t, guest(5))
		in := bufio.NewReader(conn)
		all := line(2) + "," + line(3) + "," + line(4)
		for _, c := range []struct{ parameters, want string }{
			{`{}`, `{"parameters":{"position":5,"lost":0,"lines":[` + all + `]}}`},
			{`{"from":0}`, `{"parameters":{"position":5,"lost":2,"lines":[` + all + `]}}`},
			{`{"from":0,"limit":2}`, `{"parameters":{"position":4,"lost":2,"lines":[` + line(2) + "," + line(3) + `]}}`},
			{`{"from":4}`, `{"parameters":{"position":5,"lost":0,"lines":[` + line(4) + `]}}`},
			{`{"from":5}`, `{"parameters":{"position":5,"lost":0,"lines":[]}}`},
			{`{"from":6}`, `{"error":"org.xvsock.Log.PositionNotReached"}`},
			{`{"from":9223372036854775807}`, `{"error":"org.xvsock.Log.PositionNotReached"}`},
			{`{"from":9223372036854775808}`, invalid + `"parameters"}}`},
			{`{"from":-1}`, `{"parameters":{"position":5,"lost":0,"lines":[` + line(4) + `]}}`},
			{`{"from":-2,"limit":1}`, `{"parameters":{"position":4,"lost":0,"lines":[` + line(3) + `]}}`},
			{`{"from":-100}`, `{"parameters":{"position":5,"lost":0,"lines":[` + all + `]}}`},
			{`{"from":-9223372036854775808}`, `{"parameters":{"position":5,"lost":0,"lines":[` + all + `]}}`},
			{`{"from":null}`, `{"parameters":{"position":5,"lost":0,"lines":[` + all + `]}}`},
			{`{"limit":-1}`, invalid + `"limit"}}`},
			{`{"limit":1.5}`, invalid + `"parameters"}}`},
			{`{"from":"0"}`, invalid + `"parameters"}}`},
			{`{"follow":1}`, invalid + `"parameters"}}`},
			{`{"tail":1}`, invalid + `"parameters"}}`},
			{`{"follow":true}`, `{"error":"org.varlink.service.ExpectedMore"}`},
			{`{"from":4},"more":true`, `{"parameters":{"position":5,"lost":0,"lines":[` + line(4) + `]}}`},
			{`{"from":4,"follow":true},"more":true`, `{"parameters":{"position":5,"lost":0,"lines":[` + line(4) + `]},"continues":true}`},
		} {
			io.WriteString(conn, `{"method":"org.xvsock.Log.Read","parameters":`+c.parameters+"}\n")
			if got, err := in.ReadString('\n'); got != c.want+"\n" || err != nil {
				t.Errorf("%s:\n got %q, %v\nwant %q", c.parameters, got, err, c.want)
			}
		}
	})
}

func TestTheInterfaceIsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := varlink.NewClient(start(t, 0).Dial(t, guest(5)), varlink.Limits{})
		var d varlink.Description
		err := c.Call(t.Context(), varlink.GetInterfaceDescription, map[string]string{"interface": "org.xvsock.Log"}, &d)
		if err != nil || d.Description != logs.Interface {
			t.Errorf("description: %v", err)
		}
	})
}

// A log of the largest lines is read whole, in several messages.
func TestAFullLogArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 200)
		for range 250 {
			p.log.Info(strings.Repeat(`"`, 900))
		}
		n, replies := 0, 0
		for b, err := range p.client(t, 5).Read(t.Context(), logs.Request{From: new(int64)}) {
			if err != nil {
				t.Fatal(err)
			}
			if replies == 0 && b.Lost != 50 {
				t.Errorf("%d lines lost", b.Lost)
			}
			n += len(b.Lines)
			replies++
		}
		if n != 200 || replies < 6 {
			t.Errorf("%d lines in %d replies", n, replies)
		}
		var first logs.Batch
		once := varlink.NewClient(p.Dial(t, guest(5)), varlink.Limits{})
		if err := once.Call(t.Context(), "org.xvsock.Log.Read", nil, &first); err != nil || len(first.Lines) < 25 || first.Position != first.Lines[0].Position+uint64(len(first.Lines)) {
			t.Errorf("without more: %d lines up to %d, %v", len(first.Lines), first.Position, err)
		}
	})
}

func TestAReadThatDoesNotFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 2000)
		for range 1000 {
			p.log.Info("x")
		}
		n := 0
		for b, err := range p.client(t, 5).Read(t.Context(), logs.Request{}) {
			if err != nil {
				t.Fatal(err)
			}
			n += len(b.Lines)
			for range 300 {
				p.log.Info("more")
			}
		}
		if n != 1000 {
			t.Errorf("%d lines; want those that there were at the call", n)
		}
	})
}

// One whose lines are overwritten while it reads ends all the same where it would
// have, and counts no line that it did not ask for.
func TestAReadThatIsOvertakenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 600)
		for range 600 {
			p.log.Info("x")
		}
		conn := p.Dial(t, guest(5))
		io.WriteString(conn, `{"method":"org.xvsock.Log.Read","more":true}`+"\n")
		synctest.Wait() // the server is left sending the first lines
		for range 2000 {
			p.log.Info("y")
		}
		in := bufio.NewReader(conn)
		first, _ := in.ReadString('\n')
		second, _ := in.ReadString('\n')
		if !strings.HasPrefix(first, `{"parameters":{"position":256,"lost":0,`) || second != `{"parameters":{"position":600,"lost":344,"lines":[]}}`+"\n" {
			t.Errorf("answered %.60q and %.100q", first, second)
		}
	})
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 0)
		began := time.Now()
		go func() {
			for i := range 5 {
				time.Sleep(time.Minute)
				p.log.Info(fmt.Sprint(i))
			}
		}()
		var got []string
		empty := 0
		for b, err := range p.client(t, 5).Read(t.Context(), logs.Request{Follow: true, Limit: 4}) {
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Lines) == 0 {
				empty++
			}
			for _, l := range b.Lines {
				if since := time.Since(began).Seconds(); since != l.T {
					t.Errorf("line of %v came after %v", l.T, since)
				}
				got = append(got, l.Text)
			}
		}
		if want := []string{"msg=0", "msg=1", "msg=2", "msg=3"}; !slices.Equal(got, want) || empty != 1 {
			t.Errorf("followed %v with %d empty replies; want %v", got, empty, want)
		}
		time.Sleep(time.Hour)
	})
}

func TestAFollowerEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 0)
		for i := range 20 { // more than the bound: each makes room for the next
			ctx, cancel := context.WithCancel(t.Context())
			c := p.client(t, 5)
			for _, err := range c.Read(ctx, logs.Request{Follow: true}) {
				if i%2 == 0 {
					break
				}
				cancel()
				if errors.Is(err, logs.ErrLimitReached) {
					t.Fatalf("follower %d: %v", i, err)
				}
			}
			cancel()
			c.Close()
			synctest.Wait()
		}
	})
}

func TestFollowersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, 0).CheckStreams(t, `{"method":"org.xvsock.Log.Read","parameters":{"follow":true},"more":true}`, "position")
	})
}

// A follower that reads slowly holds up nobody, and is told what it has lost.
func TestASlowFollowerIsToldWhatItLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 100)
		var lost, lines, last uint64
		for b, err := range p.client(t, 5).Read(t.Context(), logs.Request{Follow: true}) {
			if err != nil {
				t.Fatal(err)
			}
			lost += b.Lost
			for _, l := range b.Lines {
				if l.Position != lost+lines {
					t.Fatalf("line %d after %d lines and %d lost", l.Position, lines, lost)
				}
				lines++
			}
			if last = b.Position; last >= 20000 {
				break
			}
			began := time.Now()
			for range 1000 {
				p.log.Info("x")
			}
			if time.Since(began) > 0 {
				t.Fatalf("the log waited %v", time.Since(began))
			}
			time.Sleep(time.Second)
		}
		if lost == 0 || lost+lines != last {
			t.Errorf("%d lines and %d lost up to %d", lines, lost, last)
		}
	})
}

// One that does not read at all loses its connection.
func TestAFollowerThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 100)
		conn := p.Dial(t, guest(9))
		io.WriteString(conn, `{"method":"org.xvsock.Log.Read","parameters":{"follow":true},"more":true}`+"\n")
		bufio.NewReader(conn).ReadString('\n')
		for range 1000 {
			p.log.Info("x")
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n, err := io.Copy(io.Discard, conn); err != nil || n != 0 {
			t.Errorf("the connection gave %d bytes, %v; want the end", n, err)
		}
	})
}

// A log that is served makes no lines by being served.
func TestReadingMakesNoLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 0)
		p.log.Info("x")
		n := 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for b, err := range p.client(t, 5).Read(ctx, logs.Request{Follow: true}) {
			if err == nil {
				n += len(b.Lines)
			}
		}
		if n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestFloodOfCallsIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, 0).CheckPace(t, guest(5), `{"method":"org.xvsock.Log.Read"}`)
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 0)
		var open []net.Conn
		for range 50 {
			open = append(open, p.Raw(guest(5)))
		}
		synctest.Wait()
		if _, _, r, _ := p.server.Counts(); r != 42 {
			t.Errorf("%d of 50 connections were refused; want 42", r)
		}
		for _, c := range open {
			c.Close()
		}
		synctest.Wait()
	})
}

// Whatever a caller asks, it gets lines of the log or an error reply, and the server
// goes on.
func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"from":0,"limit":2}`))
	f.Add([]byte(`{"from":-1,"follow":true,"limit":1},"more":true`))
	f.Add([]byte(fmt.Sprintf(`{"from":%d},"more":true`, math.MinInt64)))
	f.Fuzz(func(t *testing.T, parameters []byte) {
		p := start(t, 3)
		for i := range 5 {
			p.log.Info(fmt.Sprint(i))
		}
		conn := p.Raw(guest(5))
		conn.SetDeadline(time.Now().Add(time.Second))
		go fmt.Fprintf(conn, `{"method":"org.xvsock.Log.Read","parameters":%s}`+"\n", parameters)
		got, _ := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if !strings.Contains(got, `"position":`) && !strings.Contains(got, `"error":`) && !strings.Contains(string(parameters), "\n") && !strings.Contains(string(parameters), "\x00") || strings.Contains(got, varlink.Internal) {
			t.Fatalf("%q was answered by %q", parameters, got)
		}
	})
}
