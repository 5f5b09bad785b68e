package toolstack_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenstore"
)

// push pushes a policy to the backend.
func (r *rig) push(rules ...string) {
	r.t.Helper()
	if err := toolstack.PushPolicy(r.t.Context(), r.tools, domain(r.back), rules); err != nil {
		r.t.Fatal(err)
	}
}

func TestPushWritesTheseNodesAndNoOthers(t *testing.T) {
	r := newRig(t)
	r.push("a", "b", "c")
	r.push("echo * @backend allow", "", "# two")
	want := map[string]string{
		"/local/domain/2/xvsock":                "n0 r2",
		"/local/domain/2/xvsock/policy":         "n0 r2",
		"/local/domain/2/xvsock/policy/0000":    "echo * @backend allow n0 r2",
		"/local/domain/2/xvsock/policy/0001":    "n0 r2",
		"/local/domain/2/xvsock/policy/0002":    "# two n0 r2",
		"/local/domain/2/xvsock/policy/version": "3 (random) n0 r2",
	}
	got := make(map[string]string)
	for _, name := range r.tree() {
		got[name] = r.node(name)
	}
	version := got["/local/domain/2/xvsock/policy/version"]
	if len(version) != len("3  n0 r2")+32 {
		t.Errorf("version is %q", version)
	}
	got["/local/domain/2/xvsock/policy/version"] = version[:2] + "(random)" + version[34:]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	r.push()
	if n := len(r.tree()); n != 3 {
		t.Errorf("an empty policy has %d nodes: %v", n, r.tree())
	}
}

// The backend in a domU reads with its own rights and quotas.
func TestTheBackendReadsWhatWasPushed(t *testing.T) {
	r := newRig(t)
	store := r.store(r.back)
	if _, _, err := toolstack.ReadPolicy(t.Context(), store, 2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a policy ReadPolicy returned %v", err)
	}
	many := make([]string, toolstack.MaxRules)
	for i := range many {
		many[i] = fmt.Sprintf("%d %s", i, strings.Repeat("x", toolstack.MaxRule-5))
	}
	owned := r.host.Xenstored().Usage(2).Nodes
	seen := make(map[string]bool)
	for _, rules := range [][]string{{"a", "b"}, many, {}, {"a"}, {"a"}} {
		r.push(rules...)
		for name, c := range map[string]*xenstore.Client{"the backend": store, "the toolstack": r.tools} {
			got, version, err := toolstack.ReadPolicy(t.Context(), c, 2)
			if err != nil || !slices.Equal(got, rules) {
				t.Fatalf("%s reads %d rules, %v; want %d", name, len(got), err, len(rules))
			}
			seen[version] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("5 policies have %d versions", len(seen))
	}
	if n := r.host.Xenstored().Usage(2).Nodes; n != owned {
		t.Errorf("%d nodes count against the backend's quota", n-owned)
	}
}

func TestNobodyButTheToolstackChangesAPolicy(t *testing.T) {
	r := newRig(t)
	r.push("deny")
	for name, store := range map[string]*xenstore.Client{"the backend": r.store(r.back), "another domain": r.store(r.other)} {
		if err := toolstack.PushPolicy(t.Context(), store, domain(r.back), nil); err == nil {
			t.Errorf("%s pushes a policy", name)
		}
		for _, node := range []string{"", "/policy", "/policy/0000", "/policy/0001", "/policy/version"} {
			if err := store.Write(t.Context(), "/local/domain/2/xvsock"+node, "x"); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s writes %q: %v", name, node, err)
			}
		}
	}
	if rules, _, err := toolstack.ReadPolicy(t.Context(), r.store(r.other), 2); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another domain reads %v, %v", rules, err)
	}
}

func TestTheBackendIsToldOfAPolicy(t *testing.T) {
	r := newRig(t)
	store := r.store(r.back)
	w, err := store.Watch(t.Context(), toolstack.PolicyVersionPath(2))
	if err != nil {
		t.Fatal(err)
	}
	<-w.Changed()
	for _, rules := range [][]string{{"a"}, {"a"}, {}} {
		r.push(rules...)
		select {
		case <-w.Changed():
		case <-time.After(10 * time.Second):
			t.Errorf("nobody tells of %v", rules)
		}
	}
}

func TestPushIsOneStep(t *testing.T) {
	r := newRig(t)
	r.push("old")
	_, old, _ := toolstack.ReadPolicy(t.Context(), r.tools, 2)
	fault := errors.New("full")
	n := 0
	for at := 1; fault != nil; at++ {
		n = 0
		r.host.Xenstored().OnRequest(func(xen.DomID, xenstore.Op, string) error {
			if n++; n == at {
				return syscall.EIO
			}
			return nil
		})
		fault = toolstack.PushPolicy(t.Context(), r.tools, domain(r.back), []string{"new", "new"})
		r.host.Xenstored().OnRequest(nil)
		if rules, version, err := toolstack.ReadPolicy(t.Context(), r.tools, 2); fault != nil &&
			(err != nil || version != old || !slices.Equal(rules, []string{"old"})) {
			t.Fatalf("request %d failed (%v), and the policy is %q, %v", at, fault, rules, err)
		}
	}
	if n < 10 {
		t.Errorf("only %d requests were tried", n)
	}
}

func TestReadTakesAllFromOnePush(t *testing.T) {
	r := newRig(t)
	sets := [][]string{{"a", "a", "a", "a"}, {"b"}, {}, {"c", "c"}}
	for at := 1; ; at++ {
		r.push(sets[0]...)
		var n, pushed atomic.Int64
		r.host.Xenstored().OnRequest(func(dom xen.DomID, _ xenstore.Op, _ string) error {
			if dom == 2 && n.Add(1) >= int64(at) && pushed.Add(1) < int64(len(sets)) {
				r.push(sets[pushed.Load()]...)
			}
			return nil
		})
		rules, version, err := toolstack.ReadPolicy(t.Context(), r.store(r.back), 2)
		r.host.Xenstored().OnRequest(nil)
		whole := slices.ContainsFunc(sets, func(s []string) bool { return slices.Equal(s, rules) })
		if err != nil || !whole || !strings.HasPrefix(version, fmt.Sprint(len(rules), " ")) {
			t.Fatalf("pushes from request %d on: read %q, %q, %v", at, rules, version, err)
		}
		if pushed.Load() == 0 {
			return
		}
	}
}

func TestReadGivesUpOnAPolicyThatNeverStands(t *testing.T) {
	r := newRig(t)
	r.push("a")
	var n atomic.Int64
	r.host.Xenstored().OnRequest(func(dom xen.DomID, _ xenstore.Op, _ string) error {
		if dom == 2 {
			n.Add(1)
			r.push("a")
		}
		return nil
	})
	if _, _, err := toolstack.ReadPolicy(t.Context(), r.store(r.back), 2); !errors.Is(err, syscall.EAGAIN) || n.Load() > 50 {
		t.Errorf("ReadPolicy returned %v after %d requests", err, n.Load())
	}
}

func TestReadRefusesWhatIsNoPolicy(t *testing.T) {
	for _, version := range []string{"", "x", "-1 a", "01 a", "2 a", "4097 a", strings.Repeat("9", 1000)} {
		r := newRig(t)
		r.push("one")
		r.set(toolstack.PolicyVersionPath(2), version)
		if rules, _, err := toolstack.ReadPolicy(t.Context(), r.tools, 2); !errors.Is(err, toolstack.ErrRules) || rules != nil {
			t.Errorf("version %.10q: ReadPolicy returned %q, %v", version, rules, err)
		}
	}
	r := newRig(t)
	r.push("one")
	for _, rule := range []string{"a\nb", strings.Repeat("x", toolstack.MaxRule+1)} {
		r.set(toolstack.PolicyPath(2)+"/0000", rule)
		if rules, _, err := toolstack.ReadPolicy(t.Context(), r.tools, 2); !errors.Is(err, toolstack.ErrRules) || rules != nil {
			t.Errorf("rule %.10q: ReadPolicy returned %q, %v", rule, rules, err)
		}
	}
}

func TestPushRefusesWhatDoesNotFit(t *testing.T) {
	r := newRig(t)
	for name, rules := range map[string][]string{
		"too many rules":   make([]string, toolstack.MaxRules+1),
		"too long a rule":  {"a", strings.Repeat("x", toolstack.MaxRule+1)},
		"two lines in one": {"a\nb"},
		"a NUL":            {"a\x00b"},
		"a return":         {"a\r"},
	} {
		err := toolstack.PushPolicy(t.Context(), r.tools, domain(r.back), rules)
		if !errors.Is(err, toolstack.ErrRules) || len(r.tree()) > 0 {
			t.Errorf("%s: PushPolicy returned %v", name, err)
		}
	}
}

func TestPushMakesNoNodesForADomainThatIsGone(t *testing.T) {
	for _, next := range []bool{false, true} {
		r := newRig(t)
		gone := domain(r.back)
		r.back.Destroy()
		if next {
			r.host.Create(sim.DomainConfig{ID: gone.ID})
		}
		err := toolstack.PushPolicy(t.Context(), r.tools, gone, []string{"a"})
		if !errors.Is(err, toolstack.ErrNoDomain) || len(r.tree()) > 0 {
			t.Errorf("PushPolicy returned %v", err)
		}
	}
}
