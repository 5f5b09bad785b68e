package varlink_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"xvsock/services/varlink"
)

// readConn is a connection that reads from r; its deadlines do nothing.
type readConn struct {
	net.Conn
	r io.Reader
}

func (c readConn) Read(p []byte) (int, error)      { return c.r.Read(p) }
func (c readConn) SetReadDeadline(time.Time) error { return nil }

func receiveAll(r io.Reader, limit int) (messages []string, ends []byte, err error) {
	c := varlink.NewConn(readConn{r: r}, varlink.Limits{MessageSize: limit})
	for {
		m, end, err := c.Receive()
		if err != nil {
			return messages, ends, err
		}
		messages = append(messages, string(m))
		ends = append(ends, end)
	}
}

func TestFraming(t *testing.T) {
	big := strings.Repeat("x", 10000)
	for _, c := range []struct {
		name string
		in   string
		want []string
		ends string
		err  error
	}{
		{"nothing", "", nil, "", io.EOF},
		{"one line", "{}\n", []string{"{}"}, "\n", io.EOF},
		{"one with NUL", "{}\x00", []string{"{}"}, "\x00", io.EOF},
		{"mixed ends", "a\x00b\nc\x00", []string{"a", "b", "c"}, "\x00\n\x00", io.EOF},
		{"empty messages", "\n\x00", []string{"", ""}, "\n\x00", io.EOF},
		{"end in the middle", "a\nbc", []string{"a"}, "\n", io.ErrUnexpectedEOF},
		{"more than the buffer", big + "\n" + big + "\x00", []string{big, big}, "\n\x00", io.EOF},
		{"exactly the limit", strings.Repeat("y", 12000) + "\n", []string{strings.Repeat("y", 12000)}, "\n", io.EOF},
		{"one over the limit", strings.Repeat("y", 12001) + "\n", nil, "", varlink.ErrTooLarge},
		{"over the limit without an end", strings.Repeat("y", 1<<20), nil, "", varlink.ErrTooLarge},
	} {
		for kind, r := range map[string]io.Reader{
			"whole":        strings.NewReader(c.in),
			"byte by byte": iotest.OneByteReader(strings.NewReader(c.in)),
			"with the end": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			got, ends, err := receiveAll(r, 12000)
			if strings.Join(got, "|") != strings.Join(c.want, "|") || string(ends) != c.ends || !errors.Is(err, c.err) {
				t.Errorf("%s, %s: %.40q %q, %v; want %.40q %q, %v", c.name, kind, got, ends, err, c.want, c.ends, c.err)
			}
		}
	}
}

func TestStartedMessageHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		go func() {
			for { // one byte a second, and never an end
				if _, err := a.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		began := time.Now()
		_, _, err := varlink.NewConn(b, varlink.Limits{}).Receive()
		if !errors.Is(err, varlink.ErrTimeout) || time.Since(began) != 5*time.Second {
			t.Errorf("Receive = %v after %v; want ErrTimeout after 5 s", err, time.Since(began))
		}
		b.Close()
		synctest.Wait()
		time.Sleep(time.Second)
	})
}

func TestSendHasADeadlineAndALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		c := varlink.NewConn(b, varlink.Limits{WriteTime: 3 * time.Second})
		began := time.Now()
		if err := c.Send(struct{}{}, 0); !errors.Is(err, varlink.ErrTimeout) || time.Since(began) != 3*time.Second {
			t.Errorf("Send to a peer that does not read = %v after %v", err, time.Since(began))
		}
		if err := c.Send(strings.Repeat("x", 64<<10), 0); !errors.Is(err, varlink.ErrTooLarge) {
			t.Errorf("Send of too much = %v", err)
		}
	})
}

func FuzzFraming(f *testing.F) {
	f.Add([]byte("{}\n{}\x00"), uint8(3))
	f.Add([]byte("\n\n\x00"), uint8(1))
	f.Add([]byte("abc"), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, limit uint8) {
		size := int(limit) + 1
		got, ends, err := receiveAll(iotest.HalfReader(bytes.NewReader(in)), size)
		var whole []byte
		for i, m := range got {
			if len(m) > size || strings.ContainsAny(m, "\n\x00") {
				t.Fatalf("message %q with limit %d", m, size)
			}
			whole = append(append(whole, m...), ends[i])
		}
		if !bytes.HasPrefix(in, whole) {
			t.Fatalf("received %q from %q", whole, in)
		}
		if err == io.EOF && len(whole) != len(in) {
			t.Fatalf("lost %q", in[len(whole):])
		}
	})
}
