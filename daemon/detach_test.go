package daemon_test

import (
	"testing"
	"testing/synctest"
	"time"

	"xvsock/toolstack"
)

// detach takes a domain's device away, as the toolstack does.
func (h *host) detach(n *node) {
	h.t.Helper()
	tools := h.Toolstack()
	defer tools.Close()
	d, err := toolstack.Describe(h.t.Context(), tools, n.dom.ID())
	if err == nil {
		err = toolstack.Detach(h.t.Context(), tools, d)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// No manager speaks for a domain that is detached, so none would ever end its links.
func TestADetachedDomainHasNoLinksAndNoRecords(t *testing.T) {
	for name, detach := range map[string]func(h *host, back, a, b *node){
		"both at once": func(h *host, _, a, b *node) {
			done := make(chan struct{})
			go func() { defer close(done); h.detach(a) }()
			h.detach(b)
			<-done
		},
		"while there is no manager": func(h *host, back, a, b *node) {
			back.kill()
			time.Sleep(20 * time.Second)
			h.detach(a)
			h.detach(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				h.rules = "echo a b allow"
				back := h.backend()
				a, b := h.startPair()
				await(t, "yes", 15*time.Second, func() string { return a.reaches(b) })
				detach(h, back, a, b)
				time.Sleep(time.Second)
				if got := a.to(b).State + b.to(a).State + a.to(b).Kind + b.to(a).Kind; got != "" {
					t.Errorf("a second later they say of each other: %q", got)
				}
				if got := a.reaches(b); got != "no: Failed" {
					t.Errorf("a reaches b: %s", got)
				}
			})
		})
	}
}

// One that is detached by mistake comes back as it was.
func TestADomainThatIsAttachedAgainReachesItsPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = "echo a b allow"
		h.backend()
		a, b := h.startPair()
		await(t, "yes", 15*time.Second, func() string { return a.reaches(b) })
		h.detach(a)
		time.Sleep(10 * time.Second)
		h.attach(a.dom)
		await(t, "yes", 5*time.Second, func() string { return a.reaches(b) })
	})
}
