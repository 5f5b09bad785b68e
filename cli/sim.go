package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/link"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// simTimeout bounds each thing that the simulated host is waited for.
const simTimeout = 10 * time.Second

// simCommand is `xvsock sim`.
func (a *app) simCommand() *cobra.Command {
	var stay bool
	c := &cobra.Command{
		Use: "sim", Short: "Show it all on a simulated Xen host, without Xen and without root", Args: noArgs,
		Long: "sim makes a Xen host in this process's memory, with a backend, two service domains\n" +
			"and a client, runs in each the same daemon that a real domain runs, and has them\n" +
			"talk to each other: what policy allows, directly, and only for as long as it does.",
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "xvsock-sim-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			d := &demo{out: c.OutOrStdout(), dir: dir, version: a.version, domains: make(map[string]*demoDomain)}
			return d.run(c.Context(), stay)
		},
	}
	c.Flags().BoolVar(&stay, "stay", false, "go on until interrupted, so that other commands can ask (see --control)")
	return c
}

// demo is the simulated host and what runs on it.
type demo struct {
	out     io.Writer
	dir     string // of what the domains have in /run/xvsock, by their names
	version string

	host    *sim.Host
	domains map[string]*demoDomain
	tasks   sync.WaitGroup
	fail    context.CancelCauseFunc
}

// demoDomain is one domain of the demo.
type demoDomain struct {
	*sim.Domain
	proc  *sim.Process
	store *xenstore.Client
}

// run makes the host, shows what it can do, and takes it down.
func (d *demo) run(ctx context.Context, stay bool) error {
	start := time.Now()
	d.host = sim.New()
	defer d.host.Close()
	running, fail := context.WithCancelCause(ctx)
	d.fail = fail
	err := d.play(running, stay)
	fail(nil)
	d.tasks.Wait()
	if err == nil && ctx.Err() == nil {
		// A daemon that failed while nobody waited for it.
		if cause := context.Cause(running); !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}
	if lost := d.leftovers(); err != nil || lost != nil {
		return errors.Join(err, lost)
	}
	d.say("down", "all daemons stopped; no page, port or mapping is left; %v in all", time.Since(start).Round(time.Millisecond))
	return nil
}

// play makes the domains and shows what they can do.
func (d *demo) play(ctx context.Context, stay bool) error {
	d.say("host", "a simulated Xen host: dom0 as backend, service domains web and db, client domain client")
	if err := d.allow(dom0Rules); err != nil {
		return err
	}
	dom0, err := d.start(ctx, d.host.Domain(0), daemon.Backend, nil)
	if err != nil {
		return err
	}
	names := []string{"web", "db", "client"}
	for _, name := range names {
		offers := daemon.Builtin()
		if name == "client" {
			offers = nil
		}
		dom, err := d.start(ctx, d.host.Create(sim.DomainConfig{Name: name}), daemon.Frontend, offers)
		if err != nil {
			return err
		}
		if err := d.attach(ctx, dom0, dom); err != nil {
			return err
		}
		d.domains[name] = dom
	}
	if err := d.show(ctx, len(names)); err != nil {
		return err
	}
	if err := d.showPolicy(ctx); err != nil || !stay {
		return err
	}
	d.say("stay", "what each domain has in /run/xvsock is in %s: try `xvsock --control %s services`", d.dir, d.socket("Domain-0"))
	<-ctx.Done()
	return nil
}

// say prints one step.
func (d *demo) say(what, format string, args ...any) {
	fmt.Fprintf(d.out, "%-10s %s\n", what, fmt.Sprintf(format, args...))
}

// socket is the path of a domain's control socket.
func (d *demo) socket(name string) string {
	return filepath.Join(d.dir, name, filepath.Base(bridge.ControlPath))
}

// door is the path of a domain's unix socket for programs.
func (d *demo) door(name string) string { return (&app{control: d.socket(name)}).door() }

// start runs a daemon in a domain.
func (d *demo) start(ctx context.Context, dom *sim.Domain, run func(context.Context, daemon.Config) error, offers []daemon.Offer) (*demoDomain, error) {
	control, err := bridge.ListenControl(d.socket(dom.Name()))
	if err != nil {
		return nil, err
	}
	proc := dom.Process()
	store := proc.Xenstore()
	devices := link.NewDomain(dom.ID(), proc.Grants(), proc.Events(), store)
	rules, err := daemon.PolicySource(d.policyDir(), devices, nil)
	if err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	d.tasks.Go(func() {
		defer control.Close()
		defer store.Close()
		err := run(ctx, daemon.Config{
			Domain: devices, Name: dom.Name(), Version: d.version, Services: offers, Control: control, Rules: rules,
			Bridge: daemon.Bridge{Door: d.door(dom.Name())}, Ready: func() { close(ready) },
		})
		if err != nil {
			d.fail(fmt.Errorf("daemon of %s: %w", dom.Name(), err))
		}
	})
	select {
	case <-ready:
		return &demoDomain{Domain: dom, proc: proc, store: store}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// attach attaches a domain as the toolstack does.
func (d *demo) attach(ctx context.Context, dom0, dom *demoDomain) error {
	front, err := toolstack.Find(ctx, dom0.store, dom.Name())
	if err != nil {
		return err
	}
	back, err := toolstack.Find(ctx, dom0.store, "0")
	if err != nil {
		return err
	}
	if err := toolstack.Attach(ctx, dom0.store, front, back, nil); err != nil {
		return err
	}
	d.say("attach", "%v to backend %v", front, back)
	return nil
}

// leftovers checks that the domains gave back everything they had of the host.
func (d *demo) leftovers() error {
	var errs []error
	for _, dom := range d.host.Domains() {
		if n := dom.Granted() + dom.Ports(); n != 0 {
			errs = append(errs, fmt.Errorf("%s still holds %d pages and %d ports", dom.Name(), dom.Granted(), dom.Ports()))
		}
	}
	errs = append(errs, d.host.Leaks()...)
	return errors.Join(append(errs, d.host.Misuse()...)...)
}
