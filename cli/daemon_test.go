package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/cli"
	"xvsock/link"
	"xvsock/sim"
	"xvsock/xenstore"
)

// xen is the platform of a program in a simulated domain.
func xen(dom *sim.Domain) cli.Platform {
	proc := dom.NewProcess()
	return cli.Platform{
		Store: func() (*xenstore.Client, error) { return proc.Xenstore(), nil },
		Devices: func(_ context.Context, d *link.Domain, _ *slog.Logger) (func() error, error) {
			d.Grants, d.Events = proc.Grants(), proc.Events()
			return func() error { return nil }, nil
		},
	}
}

// background runs a command until stop is called, which is as SIGTERM.
func background(t *testing.T, p cli.Platform, args ...string) (stop func() result) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan result, 1)
	go func() { done <- runOn(ctx, p, args...) }()
	stop = func() result {
		cancel(errors.New("terminated signal received"))
		select {
		case r := <-done:
			done <- r
			return r
		case <-time.After(20 * time.Second):
			t.Fatalf("%v does not end", args)
			return result{}
		}
	}
	t.Cleanup(func() { stop() })
	return stop
}

// until repeats a command until its output has want.
func until(t *testing.T, p cli.Platform, want string, args ...string) result {
	t.Helper()
	var r result
	for stop := time.Now().Add(20 * time.Second); time.Now().Before(stop); time.Sleep(20 * time.Millisecond) {
		if r = runOn(t.Context(), p, args...); r.code == 0 && strings.Contains(r.stdout, want) {
			return r
		}
	}
	t.Fatalf("%v: %+v, want %q", args, r, want)
	return r
}

// The life of a host by commands alone, and SIGTERM at its end.
func TestAHostByItsCommands(t *testing.T) {
	h := sim.NewTest(t)
	dir := t.TempDir()
	dom0, back, front := h.Domain(0), filepath.Join(dir, "back"), filepath.Join(dir, "front")
	rules := filepath.Join(dir, "10-test.policy")
	if err := os.WriteFile(rules, []byte("echo @backend web allow\necho web @backend allow\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stopBack := background(t, xen(dom0), "backend", "--service", "echo", "--control", back, "--policy", dir)
	web := h.Create(sim.DomainConfig{Name: "web"})
	stopFront := background(t, xen(web), "domain", "--service", "echo", "--control", front)

	tools := func(args ...string) result { return runOn(t.Context(), xen(dom0), args...) }
	if r := tools("attach", "web", "--tag", "edge"); r.code != 0 || r.stdout != "attached web (1) to backend Domain-0 (0)\n" {
		t.Errorf("attach: %+v", r)
	}
	until(t, nowhere(), "up", "peers", "--control", back)
	until(t, nowhere(), "web       65537  echo       7     SERVING", "services", "--control", back)
	if r := run(t, "ping", "web", "--bytes", "1000000", "--control", back); r.code != 0 {
		t.Errorf("ping: %+v", r)
	}
	if r := run(t, "ping", "@backend", "--control", front); r.code != 0 {
		t.Errorf("ping: %+v", r)
	}
	if r := run(t, "ping", "nobody", "--control", back); r.code != 1 {
		t.Errorf("ping of nobody: %+v", r)
	}

	r := runOn(t.Context(), xen(dom0), "backend", "--control", back)
	if r.code != 125 || !strings.Contains(r.stderr, "another daemon listens there") || !strings.Contains(r.stderr, back) {
		t.Errorf("a second daemon on one control socket: %+v", r)
	}
	oneLine(t, r)
	if r := run(t, "status", "--control", back); r.code != 0 {
		t.Errorf("the first daemon does not answer any more: %+v", r)
	}

	if r := tools("detach", "web"); r.code != 0 || r.stdout != "detached web (1)\n" {
		t.Errorf("detach: %+v", r)
	}
	until(t, nowhere(), "0 of 0", "status", "--control", back)
	for name, stop := range map[string]func() result{"domain": stopFront, "backend": stopBack} {
		r := stop()
		if r.code != 0 || !strings.Contains(r.stderr, "level=INFO msg=stopped") || strings.Contains(r.stderr, "xvsock:") {
			t.Errorf("%s ends with %d on SIGTERM:\n%s", name, r.code, r.stderr)
		}
	}
	for _, path := range []string{back, front} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left", path)
		}
	}
}

func TestAttachAndDetachSayWhatIsWrong(t *testing.T) {
	h := sim.NewTest(t)
	for range 2 {
		h.Create(sim.DomainConfig{Name: "twin"})
	}
	h.Create(sim.DomainConfig{Name: "web"})
	for command, want := range map[string]struct {
		code int
		text string
	}{
		"attach nobody":               {1, "no such domain"},
		"attach twin":                 {126, "names more than one domain"},
		"attach web --backend nobody": {1, "--backend: no such domain"},
		"attach web --backend twin":   {126, "--backend: "},
		"attach web --tag a,b":        {125, `--tag: "a,b": bad tag`},
		"attach \x1b[2J":              {1, "no such domain"},
		"detach web":                  {1, "not attached"},
		"detach nobody":               {1, "no such domain"},
		"detach twin":                 {126, "give its uuid or id"},
	} {
		r := runOn(t.Context(), xen(h.Domain(0)), strings.Split(command, " ")...)
		if r.code != want.code || !strings.Contains(r.stderr, want.text) {
			t.Errorf("%s ends with %d: %swant %d, %q", command, r.code, r.stderr, want.code, want.text)
		}
		oneLine(t, r)
	}
	for spec, name := range map[string]string{"1": "twin (1)", "3": "web (3)", h.Domain(3).UUID(): "web (3)"} {
		if r := runOn(t.Context(), xen(h.Domain(0)), "attach", spec); r.code != 0 || !strings.Contains(r.stdout, "attached "+name) {
			t.Errorf("attach %s: %+v", spec, r)
		}
	}
	if r := runOn(t.Context(), xen(h.Domain(1)), "attach", "web"); r.code != 1 {
		t.Errorf("a guest that attaches: %+v", r)
	} else {
		oneLine(t, r)
	}
}

// What keeps a daemon from starting: the thing and what to do, in one line.
func TestADaemonThatCannotStartSaysWhatToDo(t *testing.T) {
	h := sim.NewTest(t)
	denied := func(path string) error { return &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission} }
	missing := func(path string) error { return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist} }
	noStore := func(err error) cli.Platform {
		p := nowhere()
		p.Store = func() (*xenstore.Client, error) { return nil, err }
		return p
	}
	noDevices := func(err error) cli.Platform {
		p := xen(h.Domain(0))
		p.Devices = func(context.Context, *link.Domain, *slog.Logger) (func() error, error) { return nil, err }
		return p
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		platform cli.Platform
		control  string
		want     []string
	}{
		"no xenstore": {platform: noStore(errors.Join(missing("/run/xenstored/socket"), missing("/dev/xen/xenbus"))),
			want: []string{"no xenstore", "/run/xenstored/socket", "/dev/xen/xenbus", "start xenstored", "xvsock sim"}},
		"no right to xenstore": {platform: noStore(errors.Join(missing("/run/xenstored/socket"), denied("/dev/xen/xenbus"))),
			want: []string{"xenstore", "run as root"}},
		"a xenstore that fails": {platform: noStore(errors.New("out of luck")), want: []string{"out of luck"}},
		"no grant device": {platform: noDevices(fmt.Errorf("%w (load the kernel module xen-gntalloc)", missing("/dev/xen/gntalloc"))),
			want: []string{"/dev/xen/gntalloc", "load the kernel module xen-gntalloc"}},
		"no right to a device": {platform: noDevices(denied("/dev/xen/evtchn")), want: []string{"/dev/xen/evtchn", "run as root"}},
		"a control socket that cannot be": {platform: xen(h.Domain(0)), control: filepath.Join(file, "control"),
			want: []string{"control socket", file, "not a directory"}},
		"a control socket that is a file": {platform: xen(h.Domain(0)), control: file, want: []string{file, "no socket"}},
	} {
		for _, command := range []string{"backend", "domain"} {
			control := c.control
			if control == "" {
				control = filepath.Join(dir, "control")
			}
			r := runOn(t.Context(), c.platform, command, "--control", control)
			if r.code != 125 {
				t.Errorf("%s: %s ends with %d", name, command, r.code)
			}
			for _, want := range c.want {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("%s: %s says %swant %q in it", name, command, r.stderr, want)
				}
			}
			oneLine(t, r)
		}
	}
}

func TestADaemonThatLosesXenstoreFails(t *testing.T) {
	h := sim.NewTest(t)
	control := filepath.Join(t.TempDir(), "control")
	stop := background(t, xen(h.Domain(0)), "backend", "--control", control)
	until(t, nowhere(), "backend", "status", "--control", control)
	h.Xenstored().Disconnect(0)
	for stopped := time.Now().Add(20 * time.Second); time.Now().Before(stopped); time.Sleep(20 * time.Millisecond) {
		if r := run(t, "status", "--control", control); r.code == 125 {
			break
		}
	}
	if r := stop(); r.code != 1 || !strings.Contains(r.stderr, "xvsock: ") || !strings.Contains(r.stderr, "xenstored lost") {
		t.Errorf("%+v", r)
	}
}
