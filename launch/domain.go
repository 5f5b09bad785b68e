package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/grant"
	pid1 "xvsock/init"
	"xvsock/link"
	"xvsock/services"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// serviceDomain is the whole life of PID 1. It does not return.
func serviceDomain(o Options, start time.Time) {
	console := pid1.NewConsole(os.Stderr)
	level := new(slog.LevelVar)
	log := pid1.NewLog(console, level, start)
	kernel := pid1.Linux()
	reaper := pid1.NewReaper()
	in := pid1.New(pid1.Options{Kernel: kernel, Console: console, Log: log, Start: start, Reaper: reaper})
	defer in.Guard()

	ctx := context.Background()
	in.Go(ctx, reaper.Run)
	go pid1.Signals(ctx, func(how pid1.How) { in.Shutdown(ctx, how) })
	d := &domain{options: o, init: in, log: log, ready: make(chan struct{})}
	err := in.Boot(ctx, []pid1.Step{
		pid1.MountStep(kernel, pid1.Mounts()),
		pid1.ConsoleStep(kernel),
		in.MemoryStep(),
		in.SettingsStep(pid1.Settings(builtin()), level, func(c pid1.Config) { d.config = c }),
		pid1.ModuleStep(pid1.Modules{Kernel: kernel}, pid1.Drivers(grant.TableEntries)),
		{Name: "xenstore", Run: d.openStore, Stop: d.closeStore},
		{Name: "identity", Run: d.identify},
		{Name: "link", Run: d.start, Stop: d.stop},
		{Name: "services", Run: d.awaitServices},
	})
	if err != nil && !errors.Is(err, pid1.ErrStopping) {
		in.Fatal(ctx, err)
	}
	select {} // everything else runs elsewhere, and PID 1 must not exit
}

// builtin tells the settings which services there are.
func builtin() []pid1.Builtin {
	all := []pid1.Builtin{{
		Name: services.WellKnown(services.PortDiscovery), Port: services.PortDiscovery, Always: true, Fixed: true,
	}}
	for _, o := range daemon.Builtin() {
		all = append(all, pid1.Builtin{Name: o.Info.Name, Port: o.Info.Port, Fixed: true})
	}
	return all
}

// domain is a service domain between the steps of its boot table.
type domain struct {
	options Options
	init    *pid1.Init
	log     *slog.Logger
	config  pid1.Config

	store   *xenstore.Client
	name    string // for its own answers
	devices *link.Domain
	close   func() error // of the devices
	control net.Listener
	cancel  context.CancelFunc
	ready   chan struct{} // closed once the services listen
	stopped chan struct{} // closed once the daemon has ended
}

// openStore is the step "xenstore".
func (d *domain) openStore(context.Context) (err error) {
	if d.store, err = xenstore.Open(); err != nil {
		return &pid1.Fault{Thing: "xenstore", Err: err, Fix: "this kernel is no Xen guest, or has no CONFIG_XENFS and no /dev/xen/xenbus"}
	}
	return nil
}

// closeStore ends the connection to xenstore.
func (d *domain) closeStore(context.Context) error { return d.store.Close() }

// identify is the step "identity": who this domain is on its host.
func (d *domain) identify(ctx context.Context) error {
	id, err := d.store.ReadDomID(ctx, "domid")
	if err != nil {
		return &pid1.Fault{Thing: "this domain's id", Err: err, Fix: "the toolstack has to write /local/domain/N/domid"}
	}
	d.name = d.config.Name
	if self, err := toolstack.Describe(ctx, d.store, id); err == nil && self.Name != "" {
		d.name = self.Name // the toolstack's word is stronger than the label
	}
	d.devices = link.NewDomain(id, nil, nil, d.store)
	d.log.Info("this domain", "id", id, "name", d.name)
	return nil
}

// start is the step "link": it opens the devices and starts the daemon, which
// forms the link as soon as the toolstack has attached the domain.
func (d *domain) start(context.Context) (err error) {
	if d.close, err = openDevices(d.devices); err != nil {
		return err
	}
	if d.control, err = bridge.ListenControl(bridge.ControlPath); err != nil {
		return errors.Join(err, d.close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel, d.stopped = cancel, make(chan struct{})
	run := daemon.Frontend
	var rules daemon.Rules
	if d.config.Mode == pid1.Backend {
		run = daemon.Backend
		if rules, err = daemon.PolicySource(d.config.Policy, d.devices, d.log); err != nil {
			return errors.Join(err, d.control.Close(), d.close())
		}
	}
	cfg := daemon.Config{
		Domain: d.devices, Name: d.name, Version: d.options.Version, Services: d.offers(), Control: d.control,
		Rules: rules, Ready: func() { close(d.ready) }, Log: d.log,
		Shutdown: func(reboot bool) {
			how := pid1.PowerOff
			if reboot {
				how = pid1.Reboot
			}
			go d.init.Shutdown(context.Background(), how)
		},
	}
	d.init.Go(ctx, func(ctx context.Context) error {
		defer close(d.stopped)
		if err := run(ctx, cfg); err != nil {
			return fmt.Errorf("daemon: %w", err)
		}
		return ctx.Err()
	})
	return nil
}

// offers are the services that the settings name, discovery excepted: the daemon
// always runs that.
func (d *domain) offers() (out []daemon.Offer) {
	for _, s := range d.config.Services {
		for _, o := range daemon.Builtin() {
			if o.Info.Name == s.Name {
				out = append(out, o)
			}
		}
	}
	return out
}

// awaitServices is the step "services": all of them listen.
func (d *domain) awaitServices(ctx context.Context) error {
	select {
	case <-d.ready:
		return nil
	case <-d.stopped:
		return errors.New("the daemon has stopped")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop takes down what start brought up.
func (d *domain) stop(ctx context.Context) error {
	d.cancel()
	select {
	case <-d.stopped:
	case <-ctx.Done():
		return ctx.Err()
	}
	d.control.Close()
	d.log.Info("memory of PID 1", "peak", peakMemory())
	return d.close()
}

// peakMemory is the most memory that this process was ever resident in, as the
// kernel prints it.
func peakMemory() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(status), "\nVmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}
