package afvsock_test

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"xvsock/bridge/afvsock/afvsocktest"
	"xvsock/link"
)

// Programs in the middle of a transfer when the link is lost hear of a loss, and never
// of an end, whatever their kernel sends before their instance is closed.
func TestALinkThatIsLostUnderLoadIsALossToAll(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		back, front, _, toBack := twoDomains(t)
		l := back.listen(5000)
		ends := make(chan error, 8)
		for range cap(ends) {
			a := front.dial(toBack, 5000)
			b, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			go writeAll(b)
			go func() {
				_, err := io.Copy(io.Discard, a)
				ends <- err
			}()
		}
		time.Sleep(10 * time.Millisecond) // in real time, for the race is between real threads: data is under way
		(<-front.links).End(link.Lost, errors.New("test"))
		for range cap(ends) {
			if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a program reads %v, want ECONNRESET", err)
			}
		}
		back.end()
		front.end()
	}
}

// writeAll writes until the connection ends.
func writeAll(c *afvsocktest.Conn) {
	p := make([]byte, 16<<10)
	for {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}
