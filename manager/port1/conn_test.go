package port1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pipe runs f in a bubble with a Conn and the other end of its connection.
func pipe(t *testing.T, f func(t *testing.T, c *Conn, other net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		f(t, NewConn(a), b)
	})
}

// Messages come whole and in order, however they are cut.
func TestConnReadsMessagesCutAnywhere(t *testing.T) {
	var stream []byte
	for _, c := range golden {
		stream = append(stream, unhex(t, c.hex)...)
	}
	for _, size := range []int{1, 3, HeaderSize - 1, HeaderSize, HeaderSize + 1, 100, len(stream)} {
		pipe(t, func(t *testing.T, c *Conn, other net.Conn) {
			go func() {
				for rest := stream; len(rest) > 0; {
					n := min(size, len(rest))
					other.Write(rest[:n])
					rest = rest[n:]
				}
				synctest.Wait()
				other.Close()
			}()
			for _, g := range golden {
				want := unhex(t, g.hex)
				h, b, err := c.Read()
				if err != nil || h.Length != uint32(len(want)) || !bytes.Equal(b, want) {
					t.Fatalf("pieces of %d: %s came as %+v %x, %v", size, g.name, h, b, err)
				}
			}
			if _, _, err := c.Read(); err != io.EOF {
				t.Errorf("pieces of %d: the end is %v, want io.EOF itself", size, err)
			}
		})
	}
}

// Between messages there is all the time; within one there are five seconds,
// counted from its first byte (rule R6).
func TestConnDoesNotWaitForSlowSenders(t *testing.T) {
	long := unhex(t, golden[2].hex)
	for _, c := range []struct {
		name  string
		every time.Duration // between two bytes
		bytes int           // sent, then silence
		takes time.Duration // until Read returns; 0: it gets the message
	}{
		{"half a header, then silence", time.Millisecond, 8, messageTime},
		{"a header, then silence", time.Millisecond, HeaderSize, messageTime},
		{"one byte, then silence", 0, 1, messageTime},
		{"all but one byte", 0, len(long) - 1, messageTime},
		{"a byte a second", time.Second, len(long), messageTime},
		{"all, slowly but in time", 15 * time.Millisecond, len(long), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			pipe(t, func(t *testing.T, conn *Conn, other net.Conn) {
				const silence = 1000 * time.Hour
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					time.Sleep(silence)
					for i := range c.bytes {
						other.Write(long[i : i+1])
						time.Sleep(c.every)
					}
				}()
				begin := time.Now()
				_, b, err := conn.Read()
				took := time.Since(begin) - silence
				switch {
				case c.takes == 0 && (err != nil || !bytes.Equal(b, long)):
					t.Errorf("after %v: %x, %v", took, b, err)
				case c.takes != 0 && (!errors.Is(err, os.ErrDeadlineExceeded) || took != c.takes):
					t.Errorf("after %v: %v, want a deadline after %v", took, err, c.takes)
				}
				other.Close()
				<-sent
			})
		})
	}
}

// The deadline of a message is not that of the next one.
func TestConnWaitsAgainAfterAMessage(t *testing.T) {
	pipe(t, func(t *testing.T, c *Conn, other net.Conn) {
		msg := PeerAck{ID: 1}.Append(nil)
		go func() {
			for range 3 {
				other.Write(msg[:3])
				time.Sleep(messageTime - time.Second)
				other.Write(msg[3:])
				time.Sleep(time.Hour)
			}
		}()
		for i := range 3 {
			if _, _, err := c.Read(); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
		time.Sleep(time.Hour)
	})
}

// A wrong header is refused when it is there, not when the rest is.
func TestConnChecksTheHeaderFirst(t *testing.T) {
	for _, length := range []uint32{0, 1, HeaderSize - 1, HeaderSize + 1, MaxSize, MaxSize + 8, 1 << 31, 1<<32 - 1} {
		pipe(t, func(t *testing.T, c *Conn, other net.Conn) {
			b := PeerAck{ID: 1}.Append(nil)
			binary.LittleEndian.PutUint32(b, length)
			go other.Write(b)
			begin := time.Now()
			_, _, err := c.Read()
			var lie *Error
			if !errors.As(err, &lie) || time.Since(begin) != 0 {
				t.Errorf("length %d: after %v: %v", length, time.Since(begin), err)
			}
			if len(c.buf) != firstBuffer {
				t.Errorf("length %d: the buffer has grown to %d", length, len(c.buf))
			}
		})
	}
}

// An end within a message is no io.EOF.
func TestConnEndsWithinAMessage(t *testing.T) {
	long := unhex(t, golden[2].hex)
	for n := 1; n < len(long); n++ {
		pipe(t, func(t *testing.T, c *Conn, other net.Conn) {
			go func() {
				other.Write(long[:n])
				synctest.Wait()
				other.Close()
			}()
			if _, _, err := c.Read(); errors.Is(err, io.EOF) || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("after %d bytes: %v", n, err)
			}
		})
	}
}

// The buffer grows to the longest message and stays.
func TestConnBufferGrowsAsNeeded(t *testing.T) {
	links := make([]Live, MaxLinks)
	for i := range links {
		links[i].Attachment[0] = byte(i)
	}
	short, long := PeerAck{ID: 1}.Append(nil), Hello{Links: links}.Append(nil)
	pipe(t, func(t *testing.T, c *Conn, other net.Conn) {
		go func() {
			for _, m := range [][]byte{short, long, short, long} {
				other.Write(m)
			}
		}()
		var sizes []int
		for range 4 {
			_, b, err := c.Read()
			if m, perr := parse(b); err != nil || perr != nil {
				t.Errorf("%+v, %v, %v", m, err, perr)
			}
			sizes = append(sizes, cap(c.buf))
		}
		if sizes[0] != firstBuffer || sizes[1] > MaxSize || sizes[1] != sizes[2] || sizes[1] != sizes[3] {
			t.Errorf("buffer sizes: %v", sizes)
		}
	})
}

func TestConnWriteDoesNotWaitForEver(t *testing.T) {
	pipe(t, func(t *testing.T, c *Conn, other net.Conn) {
		msg := PeerAck{ID: 1}.Append(nil)
		for range 2 { // a second one has a deadline of its own
			go io.ReadFull(other, make([]byte, len(msg)))
			if err := c.Write(msg); err != nil {
				t.Errorf("write: %v", err)
			}
			time.Sleep(time.Hour)
		}
		begin := time.Now()
		if err := c.Write(msg); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != messageTime {
			t.Errorf("nobody reads: %v after %v", err, time.Since(begin))
		}
	})
}

// endless is a connection on which the same message comes for ever.
type endless struct {
	net.Conn
	msg []byte
	at  int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.msg[e.at:])
	e.at = (e.at + n) % len(e.msg)
	return n, nil
}

func (*endless) Write(b []byte) (int, error)      { return len(b), nil }
func (*endless) SetReadDeadline(time.Time) error  { return nil }
func (*endless) SetWriteDeadline(time.Time) error { return nil }

func TestConnAllocatesNothing(t *testing.T) {
	msg := ConnectReq{ID: 1, Domain: 3, Port: 7, Terms: terms}.Append(nil)
	c := NewConn(&endless{msg: msg})
	n := testing.AllocsPerRun(100, func() {
		_, b, err := c.Read()
		if err == nil {
			_, err = ParseConnectReq(b)
		}
		if err == nil {
			err = c.Write(b)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}
