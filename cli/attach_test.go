package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/cli"
	"xvsock/sim"
	xentypes "xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// toolstackOf is the toolstack's domain of a simulated host.
func toolstackOf(h *sim.Host) cli.Platform {
	return cli.Platform{Store: func() (*xenstore.Client, error) { return h.Toolstack(), nil }}
}

// nodeOf reads a node; "(none)" if it is not there.
func nodeOf(t *testing.T, h *sim.Host, node string) string {
	t.Helper()
	store := h.Toolstack()
	defer store.Close()
	v, err := store.Read(t.Context(), node)
	if err != nil {
		return "(none)"
	}
	return v
}

// tableFile writes a table of domains and returns its path.
func tableFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "domains.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAttachGivesTheTagsOfTheFlagsAndTheTable(t *testing.T) {
	h := sim.NewTest(t)
	h.Create(sim.DomainConfig{Name: "web"})
	h.Create(sim.DomainConfig{Name: "back"})
	table := tableFile(t, "[[domain]]\nname = \"web\"\ntags = [\"edge\", \"www\"]\n")
	r := runOn(t.Context(), toolstackOf(h), "attach", "web", "--backend", "back", "--tag", "a", "--tag", "www", "--domains", table)
	if r.code != 0 || r.stdout != "attached web (1) to backend back (2)\n" || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	if tags := nodeOf(t, h, xenbus.BackPath(2, 1)+"/tags"); tags != "a www edge" {
		t.Errorf("tags are %q", tags)
	}
	h.Create(sim.DomainConfig{Name: "web"})
	r = runOn(t.Context(), toolstackOf(h), "attach", "1", "--backend", "back", "--domains", table)
	if tags := nodeOf(t, h, xenbus.BackPath(2, 1)+"/tags"); r.code != 0 || tags != "" {
		t.Errorf("by a name that two domains have it gets tags %q: %+v", tags, r)
	}
}

func TestAttachWithBackendAloneMovesAll(t *testing.T) {
	h := sim.NewTest(t)
	for _, name := range []string{"web", "db", "back"} {
		h.Create(sim.DomainConfig{Name: name})
	}
	p := toolstackOf(h)
	table := tableFile(t, "[[domain]]\nname = \"db\"\ntags = [\"table\"]\n")
	for _, args := range [][]string{{"attach", "web", "--tag", "by-hand"}, {"attach", "db", "--tag", "old"}} {
		if r := runOn(t.Context(), p, args...); r.code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	h.Xenstored().OnRequest(func(_ xentypes.DomID, op xenstore.Op, path string) error {
		if op == xenstore.OpWrite && path == xenbus.FrontPath(2)+"/backend" {
			return syscall.EIO
		}
		return nil
	})
	r := runOn(t.Context(), p, "attach", "--backend", "back", "--domains", table)
	if r.code != 1 || r.stdout != "moved web (1) to backend back (3)\n" || !strings.Contains(r.stderr, "attach db (2) to back (3)") {
		t.Errorf("with a domain that fails: %+v", r)
	}
	h.Xenstored().OnRequest(nil)
	r = runOn(t.Context(), p, "attach", "--backend", "back", "--domains", table)
	if r.code != 0 || r.stdout != "moved db (2) to backend back (3)\n" {
		t.Errorf("again: %+v", r)
	}
	r = runOn(t.Context(), p, "attach", "--backend", "back", "--domains", table)
	if r.code != 0 || r.stdout != "no domain to move to backend back (3)\n" {
		t.Errorf("with nothing to move: %+v", r)
	}
	for id, want := range map[xentypes.DomID]string{1: "by-hand", 2: "table"} {
		if tags := nodeOf(t, h, xenbus.BackPath(3, id)+"/tags"); tags != want {
			t.Errorf("tags of domain %v are %q, want %q", id, tags, want)
		}
	}
}

func TestAttachWatchRunsUntilItIsInterrupted(t *testing.T) {
	table := tableFile(t, "[[domain]]\nname = \"web-1\"\ntags = [\"edge\"]\n")
	synctest.Test(t, func(t *testing.T) {
		h := sim.NewTest(t)
		h.Create(sim.DomainConfig{Name: "web-1"})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan result, 1)
		go func() {
			ended <- runOn(ctx, toolstackOf(h), "attach", "--watch", "web-*", "--watch", "db", "--tag", "all", "--domains", table)
		}()
		time.Sleep(time.Minute)
		h.Create(sim.DomainConfig{Name: "db"})
		h.Create(sim.DomainConfig{Name: "other"})
		time.Sleep(time.Minute)
		cancel()
		r := <-ended
		if r.code != 0 || r.stdout != "" || strings.Count(r.stderr, "\n") != 2 || strings.Count(r.stderr, "msg=attached") != 2 {
			t.Errorf("%+v", r)
		}
		for id, want := range map[xentypes.DomID]string{1: "all edge", 2: "all", 3: "(none)"} {
			if tags := nodeOf(t, h, xenbus.BackPath(0, id)+"/tags"); tags != want {
				t.Errorf("tags of domain %v are %q, want %q", id, tags, want)
			}
		}
	})
}

func TestAttachRefusesWhatDoesNotGoTogether(t *testing.T) {
	bad := tableFile(t, "[[domain]]\nname = \"web\"\ntag = \"x\"\n")
	for _, c := range []struct{ command, want string }{
		{"attach", "--watch GLOB, or --backend NEW"},
		{"attach --tag a", "--watch GLOB, or --backend NEW"},
		{"attach a b", "accepts 1 arg, received 2"},
		{"attach web --watch web", `give the DOMAIN "web" or --watch, not both`},
		{"attach --backend back --tag a", "domains that are moved keep their tags"},
		{"attach web --domains /nonexistent/table", "--domains: table of domains: open /nonexistent/table: no such file"},
		{"attach web --domains " + bad, bad + `:3: unknown key "tag"`},
		{"attach web --domains " + filepath.Dir(bad), "--domains: table of domains: read " + filepath.Dir(bad)},
		{"backend --auto-attach web --domains /nonexistent/table", "--domains: table of domains: open /nonexistent/table: no such file"},
		{"policy lint --policy ../examples/policy --domains /nonexistent/table", "--domains: table of domains: open /nonexistent/table: no such file"},
		{"policy lint --policy ../examples/policy --domains " + bad, bad + `:3: unknown key "tag"`},
		{"attach web --tag @a", `--tag: "@a": bad tag`},
		{"attach --watch web --tag @a", `--tag: "@a": bad tag`},
		{"attach --watch ", "--watch: bad pattern"},
		{"attach --watch web --watch ", "--watch: bad pattern"},
		{"backend --auto-attach ", "--auto-attach: bad pattern"},
		{"backend --auto-attach web --auto-attach ", "--auto-attach: bad pattern"},
		{"backend --domains " + bad, "--domains goes with --auto-attach"},
		{"backend --policy " + bad, "--policy: " + bad + " is no directory"},
	} {
		r := run(t, strings.Split(c.command, " ")...)
		if r.code != 125 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%q ends with %d: %swant 125 and %q", c.command, r.code, r.stderr, c.want)
		}
		oneLine(t, r)
	}
	h := sim.NewTest(t)
	h.Create(sim.DomainConfig{Name: "web"})
	for _, c := range []struct{ command, want string }{
		{"attach none", "no such domain"},
		{"attach web --backend none", "--backend: no such domain"},
		{"attach --backend none", "--backend: no such domain"},
	} {
		r := runOn(t.Context(), toolstackOf(h), strings.Split(c.command, " ")...)
		if r.code != 1 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%q ends with %d: %swant 1 and %q", c.command, r.code, r.stderr, c.want)
		}
	}
}
