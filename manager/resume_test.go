package manager_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/manager/policy"
)

// A backend that was restored has another id, no frontends until they are attached to
// it, and its policy.
func TestAManagerRunsAgainAsAnotherDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("echo web @backend allow", "80 @backend web allow")
		web := r.create("web")
		r.attach(web, "web")
		time.Sleep(time.Second)
		if len(r.manager.Frontends()) != 1 || !r.manager.Allowed(web.ID(), 0, 7) {
			t.Fatal("the test needs a frontend")
		}
		r.cancel()
		<-r.done
		if n := len(r.manager.Frontends()); n != 0 {
			t.Errorf("%d frontends after Run", n)
		}
		r.manager.SetSelf(policy.Domain{ID: 77, Name: "new", UUID: r.back.UUID()})
		if all := r.manager.Domains(); len(all) != 1 || all[0].ID != 77 || all[0].Name != "new" || !all[0].Backend {
			t.Errorf("domains: %+v", all)
		}
		if r.manager.Allowed(0, 0, 7) || !r.manager.Allowed(77, 77, 7) {
			t.Error("it is still the domain that it was")
		}
		// It is the same domain in truth, whose devices it finds again.
		r.manager.SetSelf(policy.Domain{ID: 0, Name: "the-backend", UUID: r.back.UUID()})
		ctx, cancel := context.WithCancel(t.Context())
		r.cancel = cancel
		go func() { r.done <- r.manager.Run(ctx, r.stack) }()
		time.Sleep(time.Second)
		if len(r.manager.Frontends()) != 1 || !r.manager.Allowed(web.ID(), 0, 7) {
			t.Errorf("after the second Run: %+v", r.manager.Frontends())
		}
	})
}
