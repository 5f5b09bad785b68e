package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/discovery"
)

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
	return d.list(ctx, "client", "@backend", fmt.Sprintf("client asks port 2 of the backend (CID %#x), and sees what it may reach", 0x7FF1), 2)
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
		return serving(reply.Services) >= want, err
	})
	if err != nil {
		return err
	}
	d.say("discovery", "%s:", title)
	for _, line := range summary(reply.Services) {
		d.say("", "  %s", line)
	}
	return nil
}

// serving counts the services that are up, but for those that every domain has.
func serving(records []discovery.Record) (n int) {
	for _, r := range records {
		if r.State == services.Serving && !isManagement(r) {
			n++
		}
	}
	return n
}

// summary is a list of services, a line for each domain.
func summary(records []discovery.Record) (lines []string) {
	records = slices.DeleteFunc(slices.Clone(records), isManagement)
	for i, r := range records {
		text := fmt.Sprintf("%s on %d (%s)", r.Name, r.Port, r.State)
		if i > 0 && records[i-1].Domain == r.Domain {
			lines[len(lines)-1] += printable(", " + text)
		} else {
			lines = append(lines, printable(r.Domain+" offers "+text))
		}
	}
	return lines
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
