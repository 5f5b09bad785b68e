package launch

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	pid1 "xvsock/init"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// tellTimeout bounds one write: a toolstack that does not listen is no reason to wait.
const tellTimeout = 2 * time.Second

// teller writes what PID 1 has to say into the one directory of its own in xenstore
// that a guest may write to (toolstack.ReadBoot reads it). What is said before
// xenstore is open is written then, and all of it again after a resume, when the
// domain has a new directory.
type teller struct {
	log *slog.Logger

	mu       sync.Mutex
	store    *xenstore.Client
	said     []node // the newest of each; a boot has few
	problems int
}

// node is one node below toolstack.BootDir.
type node struct{ name, value string }

// tell implements pid1.Tell.
func (t *teller) tell(kind pid1.TellKind, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := node{"state", text}
	switch kind {
	case pid1.TellProblem:
		n.name = "problem/" + strconv.Itoa(t.problems)
		t.problems++
	case pid1.TellFailure:
		n.name = "failure"
	}
	t.said = append(slices.DeleteFunc(t.said, func(old node) bool { return old.name == n.name }), n)
	if t.store != nil {
		t.write(n)
	}
}

// open gives the teller its store.
func (t *teller) open(store *xenstore.Client) {
	t.mu.Lock()
	t.store = store
	t.mu.Unlock()
	t.again()
}

// again writes all that was said.
func (t *teller) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.said {
		t.write(n)
	}
}

// write writes one node. The caller holds mu, so that the nodes come in order.
func (t *teller) write(n node) {
	ctx, cancel := context.WithTimeout(context.Background(), tellTimeout)
	defer cancel()
	if err := t.store.Write(ctx, toolstack.BootDir+"/"+n.name, n.value); err != nil {
		t.log.Debug("tell the toolstack", "node", n.name, "error", err)
	}
}
