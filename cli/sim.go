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
	"xvsock/services/discovery"
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
		Use: "sim", Short: "Show it all on a simulated Xen host, without Xen and without root", Args: cobra.NoArgs,
		Long: "sim makes a Xen host in this process's memory, with a backend, two service domains\n" +
			"and a client, runs in each the same daemon that a real domain runs, and has them\n" +
			"talk to each other.",
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "xvsock-sim-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			d := &demo{out: c.OutOrStdout(), dir: dir, version: a.version}
			return d.run(c.Context(), stay)
		},
	}
	c.Flags().BoolVar(&stay, "stay", false, "go on until interrupted, so that other commands can ask (see --control)")
	return c
}

// demo is the simulated host and what runs on it.
type demo struct {
	out     io.Writer
	dir     string // of the control sockets
	version string

	host  *sim.Host
	tasks sync.WaitGroup
	fail  context.CancelCauseFunc
}

// demoDomain is one domain of the demo.
type demoDomain struct {
	*sim.Domain
	proc  *sim.Process
	store *xenstore.Client
}

// run makes the host, shows what it can do, and takes it down.
func (d *demo) run(ctx context.Context, stay bool) (err error) {
	start := time.Now()
	d.host = sim.New()
	defer d.host.Close()
	ctx, d.fail = context.WithCancelCause(ctx)
	names := []string{"web", "db", "client"}
	d.say("host", "a simulated Xen host: dom0 as backend, service domains web and db, client domain client")

	dom0, err := d.start(ctx, d.host.Domain(0), daemon.Backend, nil)
	if err != nil {
		return err
	}
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
	}
	err = d.show(ctx, len(names))
	if err == nil && stay {
		d.say("stay", "control sockets are in %s: try `xvsock --control %s services`", d.dir, d.socket("Domain-0"))
		<-ctx.Done()
	}
	d.fail(nil)
	d.tasks.Wait()
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return errors.Join(err, d.leftovers(start))
}

// say prints one step.
func (d *demo) say(what, format string, args ...any) {
	fmt.Fprintf(d.out, "%-10s %s\n", what, fmt.Sprintf(format, args...))
}

// socket is the path of a domain's control socket.
func (d *demo) socket(name string) string { return filepath.Join(d.dir, name) }

// start runs a daemon in a domain.
func (d *demo) start(ctx context.Context, dom *sim.Domain, run func(context.Context, daemon.Config) error, offers []daemon.Offer) (*demoDomain, error) {
	control, err := bridge.ListenControl(d.socket(dom.Name()))
	if err != nil {
		return nil, err
	}
	proc := dom.Process()
	store := proc.Xenstore()
	ready := make(chan struct{})
	d.tasks.Go(func() {
		defer control.Close()
		err := run(ctx, daemon.Config{
			Domain: &link.Domain{ID: dom.ID(), Grants: proc.Grants(), Events: proc.Events(), Store: store},
			Name:   dom.Name(), Version: d.version, Services: offers, Control: control,
			Ready: func() { close(ready) },
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

// show is what the demo is for.
func (d *demo) show(ctx context.Context, frontends int) error {
	if err := d.linksUp(ctx, frontends); err != nil {
		return err
	}
	for _, name := range []string{"web", "db"} {
		if err := d.list(ctx, "Domain-0", name, fmt.Sprintf("dom0 asks port 2 of %s", name), 2); err != nil {
			return err
		}
	}
	const mebibyte = 1 << 20
	var echoed daemon.PingReply
	if err := d.call(ctx, "Domain-0", daemon.MethodPing, daemon.PingArgs{Domain: "db", Bytes: mebibyte}, &echoed); err != nil {
		return fmt.Errorf("echo of db: %w", err)
	}
	d.say("echo", "1 MiB from dom0 through port 7 of db and back, every byte compared: %.1f ms (%.0f MiB/s each way)",
		echoed.Seconds*1e3, 1/echoed.Seconds)
	return d.list(ctx, "client", "@backend", fmt.Sprintf("client asks port 2 of the backend (CID %#x)", 0x7FF1), 6)
}

// linksUp waits until all front links are up.
func (d *demo) linksUp(ctx context.Context, want int) error {
	start := time.Now()
	err := d.until(ctx, "front links", func() (bool, error) {
		var s daemon.Status
		if err := d.call(ctx, "Domain-0", daemon.MethodStatus, nil, &s); err != nil {
			return false, err
		}
		up := 0
		for _, l := range s.Links {
			if l.Up {
				up++
			}
		}
		return up == want, nil
	})
	if err != nil {
		return err
	}
	d.say("link", "%d front links are up after %v", want, time.Since(start).Round(time.Millisecond))
	return nil
}

// list prints what one domain's port 2 answers another, once it lists as many
// services as there should be: registrations take a moment to arrive.
func (d *demo) list(ctx context.Context, from, to, title string, want int) error {
	var reply daemon.ServicesReply
	err := d.until(ctx, title, func() (bool, error) {
		err := d.call(ctx, from, daemon.MethodServices, daemon.ServicesArgs{Domain: to}, &reply)
		return len(reply.Services) >= want, err
	})
	if err != nil {
		return err
	}
	d.say("discovery", "%s: %s", title, summary(reply.Services))
	return nil
}

// summary is a list of services on one line.
func summary(records []discovery.Record) string {
	text, domain := "", ""
	for _, r := range records {
		if r.Domain != domain || text == "" {
			if text != "" {
				text += "; "
			}
			text += r.Domain + " offers"
			domain = r.Domain
		} else {
			text += ","
		}
		text += fmt.Sprintf(" %s on %d (%s)", r.Name, r.Port, r.State)
	}
	return printable(text)
}

// call asks a domain's daemon by its control socket, as the commands do.
func (d *demo) call(ctx context.Context, domain, method string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, simTimeout)
	defer cancel()
	a := app{control: d.socket(domain)}
	return a.call(ctx, method, in, out)
}

// until calls look until it says so, for as long as things may take.
func (d *demo) until(ctx context.Context, what string, look func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, simTimeout)
	defer cancel()
	for {
		if ok, err := look(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

// leftovers checks that the domains gave back everything they had of the host.
func (d *demo) leftovers(start time.Time) error {
	var errs []error
	for _, dom := range d.host.Domains() {
		if n := dom.Granted() + dom.Ports(); n != 0 {
			errs = append(errs, fmt.Errorf("%s still holds %d pages and %d ports", dom.Name(), dom.Granted(), dom.Ports()))
		}
	}
	errs = append(errs, d.host.Misuse()...)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.say("down", "all daemons stopped; no page, port or mapping is left; %v in all", time.Since(start).Round(time.Millisecond))
	return nil
}
