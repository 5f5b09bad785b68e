package daemon_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/sim"
	"xvsock/toolstack"
)

// Rules that the toolstack pushes to a restored backend reach it under its new id.
func TestPolicyInXenstoreFollowsABackendThatIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "store"})
		store := dom.Process().Xenstore()
		defer store.Close()
		d := link.NewDomain(dom.ID(), nil, nil, store)
		rules, err := daemon.PolicySource(daemon.PolicyInStore, d, nil)
		if err != nil {
			t.Fatal(err)
		}
		sets := make(chan *policy.Set, 10)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- rules.Run(ctx, func(s *policy.Set) { sets <- s }) }()
		defer func() { cancel(); <-done }()
		tools := h.Toolstack()
		defer tools.Close()
		push := func(rule string) {
			t.Helper()
			if err := toolstack.PushPolicy(t.Context(), tools, toolstack.Domain{ID: dom.ID()}, []string{rule}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			last := ""
			for len(sets) > 0 {
				for _, r := range (<-sets).Rules() {
					last = r.Text
				}
			}
			if last != rule {
				t.Errorf("in force is %q, pushed was %q", last, rule)
			}
		}
		push("echo a b allow")
		if err := errors.Join(dom.Suspend(), dom.Resume()); err != nil {
			t.Fatal(err)
		}
		d.SetID(dom.ID())
		time.Sleep(time.Second)
		push("echo b a allow")
	})
}
