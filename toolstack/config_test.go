package toolstack_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenstore"
)

// config is a map of keys to values.
type config = map[string][]string

func (r *rig) setConfig(values config) {
	r.t.Helper()
	if err := toolstack.SetConfig(r.t.Context(), r.tools, r.guest.ID(), values); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) config(id xen.DomID) config {
	r.t.Helper()
	values, err := toolstack.ReadConfig(r.t.Context(), r.tools, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return values
}

func TestSetConfigWritesTheseNodesAndNoOthers(t *testing.T) {
	r := newRig(t)
	r.setConfig(config{"old": {"x"}, "service": {"a", "b", "c"}})
	r.setConfig(config{"log": {"debug"}, "service": {"echo", "kv:7000:exec:/kv"}, "module": {}})
	want := map[string]string{
		"/local/domain/1/xvsock":                     "n0 r1",
		"/local/domain/1/xvsock/config":              "n0 r1",
		"/local/domain/1/xvsock/config/log":          "debug n0 r1",
		"/local/domain/1/xvsock/config/service":      "n0 r1",
		"/local/domain/1/xvsock/config/service/0000": "echo n0 r1",
		"/local/domain/1/xvsock/config/service/0001": "kv:7000:exec:/kv n0 r1",
	}
	got := make(map[string]string)
	for _, name := range r.tree() {
		got[name] = r.node(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	r.setConfig(nil)
	if got := r.node("/local/domain/1/xvsock/config"); got != "(none)" {
		t.Errorf("of nothing there is left %q", got)
	}
}

func TestADomainReadsWhatItIsToldAndNobodyElse(t *testing.T) {
	r := newRig(t)
	want := config{"log": {"debug"}, "service": {"echo", "kv:7000:exec:/kv"}, "name": {""}}
	r.setConfig(want)
	guest, other := r.store(r.guest), r.store(r.other)
	for name, read := range map[string]func() (config, error){
		"the domain":             func() (config, error) { return toolstack.ReadOwnConfig(t.Context(), guest) },
		"the domain by its id":   func() (config, error) { return toolstack.ReadConfig(t.Context(), guest, 1) },
		"the toolstack's domain": func() (config, error) { return toolstack.ReadConfig(t.Context(), r.tools, 1) },
	} {
		if got, err := read(); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s reads %v, %v; want %v", name, got, err, want)
		}
	}
	if got, err := toolstack.ReadConfig(t.Context(), other, 1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another domain reads %v, %v", got, err)
	}
	for _, node := range []string{"xvsock/config/log", "xvsock/config/new", "xvsock/config"} {
		if err := guest.Write(t.Context(), node, "x"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("the domain wrote %s: %v", node, err)
		}
	}
	if got, err := toolstack.ReadOwnConfig(t.Context(), other); err != nil || len(got) > 0 {
		t.Errorf("a domain that is told nothing reads %v, %v", got, err)
	}
}

func TestTheOrderOfValuesIsThatOfTheirNodes(t *testing.T) {
	r := newRig(t)
	dir := toolstack.ConfigPath(1)
	for _, n := range []struct{ name, value string }{
		{"/service/b", "4"}, {"/service/10", "2"}, {"/service/9", "3"}, {"/service", "1"}, {"/log", "\x00\xff"}, {"/service/9/x", "no"},
	} {
		r.set(dir+n.name, n.value)
	}
	want := config{"service": {"1", "2", "3", "4"}, "log": {"\x00\xff"}}
	if diff := cmp.Diff(want, r.config(1)); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestWhatIsReadOfAConfigurationIsBounded(t *testing.T) {
	r := newRig(t)
	for i := range 300 {
		r.set(fmt.Sprintf("%s/module/%04d", toolstack.ConfigPath(1), i), "m")
	}
	r.set(toolstack.ConfigPath(1)+"/log", "debug")
	got, err := toolstack.ReadConfig(t.Context(), r.tools, 1)
	if !errors.Is(err, toolstack.ErrConfig) || len(got["module"]) != 255 || len(got["log"]) != 1 {
		t.Errorf("%d modules, log %q, %v; want 256 values and ErrConfig", len(got["module"]), got["log"], err)
	}
}

func TestWhatCannotBeAConfiguration(t *testing.T) {
	r := newRig(t)
	for name, values := range map[string]config{
		"a key that leads elsewhere": {"../../2/xvsock": {"x"}},
		"an empty key":               {"": {"x"}},
		"capitals in a key":          {"Mode": {"x"}},
		"a long key":                 {strings.Repeat("x", 33): {"x"}},
		"a long value":               {"name": {strings.Repeat("x", 2049)}},
		"a zero byte":                {"name": {"a\x00"}},
		"two lines":                  {"name": {"a\nb"}},
		"no text":                    {"name": {"\xff"}},
		"too many values":            {"module": make([]string, 257)},
	} {
		if err := toolstack.SetConfig(t.Context(), r.tools, 1, values); !errors.Is(err, toolstack.ErrConfig) {
			t.Errorf("%s: %v; want ErrConfig", name, err)
		}
		err := toolstack.AttachWith(t.Context(), r.tools, domain(r.guest), domain(r.back), toolstack.AttachOptions{Config: values})
		if !errors.Is(err, toolstack.ErrConfig) {
			t.Errorf("%s: attach: %v; want ErrConfig", name, err)
		}
	}
	if all := r.tree(); len(all) > 0 {
		t.Errorf("nodes %q", all)
	}
	most := config{"module": make([]string, 256)}
	for i := range most["module"] {
		most["module"][i] = strings.Repeat("x", 2048)
	}
	r.setConfig(most)
	if !cmp.Equal(most, r.config(1)) {
		t.Error("the most that fits did not come back")
	}
}

func TestNoNodesAreMadeForADomainThatIsGone(t *testing.T) {
	r := newRig(t)
	r.guest.Destroy()
	if err := toolstack.SetConfig(t.Context(), r.tools, 1, config{"log": {"x"}}); !errors.Is(err, toolstack.ErrNoDomain) {
		t.Errorf("SetConfig() = %v; want ErrNoDomain", err)
	}
	if all := r.tree(); len(all) > 0 {
		t.Errorf("nodes %q", all)
	}
}

func TestAttachTellsTheDomainInTheSameStep(t *testing.T) {
	r := newRig(t)
	r.setConfig(config{"log": {"debug"}})
	for _, c := range []struct {
		name string
		o    toolstack.AttachOptions
		want config
	}{
		{"nothing new", toolstack.AttachOptions{Tags: []string{"a"}}, config{"log": {"debug"}}},
		{"something else", toolstack.AttachOptions{Config: config{"name": {"x"}}}, config{"name": {"x"}}},
		{"nothing any more", toolstack.AttachOptions{Config: config{}}, config{}},
	} {
		if err := toolstack.AttachWith(t.Context(), r.tools, domain(r.guest), domain(r.back), c.o); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, r.config(1)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	r.host.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, path string) error {
		if op == xenstore.OpWrite && strings.HasPrefix(path, "/local/domain/2/") {
			return syscall.EIO
		}
		return nil
	})
	err := toolstack.AttachWith(t.Context(), r.tools, domain(r.guest), domain(r.back), toolstack.AttachOptions{Config: config{"name": {"y"}}})
	if err == nil || len(r.config(1)) > 0 {
		t.Errorf("an attach that failed (%v) left %v", err, r.config(1))
	}
}

func TestReadBoot(t *testing.T) {
	r := newRig(t)
	read := func() toolstack.Boot {
		t.Helper()
		b, err := toolstack.ReadBoot(t.Context(), r.tools, 1)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if diff := cmp.Diff(toolstack.Boot{}, read()); diff != "" {
		t.Errorf("a domain that says nothing (-want +got):\n%s", diff)
	}
	guest := r.store(r.guest)
	say := func(node, value string) {
		t.Helper()
		if err := guest.Write(t.Context(), "data/xvsock/"+node, value); err != nil {
			t.Fatal(err)
		}
	}
	say("state", "failed")
	say("failure", strings.Repeat("x", 2000))
	for i := range 50 {
		say(fmt.Sprintf("problem/%d", i), fmt.Sprintf("line %d", i))
	}
	b := read()
	if b.State != "failed" || len(b.Failure) != 1024 || len(b.Problems) != 32 || b.Problems[2] != "line 2" || b.Problems[31] != "line 31" {
		t.Errorf("boot = %.200v", b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := toolstack.ReadBoot(ctx, r.tools, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadBoot() = %v", err)
	}
}
