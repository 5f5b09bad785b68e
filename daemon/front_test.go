package daemon_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/link"
	"xvsock/vsock"
)

// The conversation with the manager may end before the manager has said anything:
// it was killed, or the frontend is told to stop. Then the link is made again, or
// the daemon ends.
func TestAConversationThatEndsBeforeItBeginsHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.create("web")
		proc := h.Domain(0).NewProcess()
		store := proc.Xenstore()
		stack := vsock.NewStack(vsock.Config{Backend: true})
		port1, err := stack.Listen(vsock.PortManager)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{}, 2)
		go func() {
			for {
				c, err := port1.Accept()
				if err != nil {
					done <- struct{}{}
					return
				}
				time.Sleep(time.Second)
				c.Close()
			}
		}()
		ctx, cancel := context.WithCancel(t.Context())
		links := 0
		go func() {
			d := link.NewDomain(0, proc.Grants(), proc.Events(), store)
			_ = link.NewBack(d, dom.ID(), link.Options{}).Run(ctx, func(_ context.Context, l *link.Link) error {
				links++
				return stack.Serve(l, vsock.ToFrontend, nil)
			})
			done <- struct{}{}
		}()
		web := start(t, dom, daemon.Frontend, nil)
		time.Sleep(time.Minute)
		web.stop() // hangs the test if it does not end
		cancel()
		stack.Close()
		<-done
		<-done
		store.Close()
		if links < 3 {
			t.Errorf("%d links in a minute of which each ended after a second", links)
		}
	})
}
