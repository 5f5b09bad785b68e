package cli_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/cli"
	"xvsock/xenstore"
)

// dumb is a xenstore that takes requests and never answers, as /dev/xen/xenbus is
// when no xenstored runs.
type dumb struct{ closed chan struct{} }

func (d dumb) Read([]byte) (int, error)    { <-d.closed; return 0, io.EOF }
func (d dumb) Write(p []byte) (int, error) { return len(p), nil }
func (d dumb) Close() error                { close(d.closed); return nil }

func TestAXenstoreThatDoesNotAnswerIsNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := cli.Platform{Store: func() (*xenstore.Client, error) {
			return xenstore.New(dumb{make(chan struct{})}, xenstore.Config{}), nil
		}}
		begin := time.Now()
		r := runOn(t.Context(), p, "backend", "--control", "/nonexistent/control")
		if r.code != 125 || !strings.Contains(r.stderr, "xenstore does not answer") || time.Since(begin) > 15*time.Second {
			t.Errorf("after %v: %+v", time.Since(begin), r)
		}
		oneLine(t, r)
	})
}
