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
	"xvsock/config"
	"xvsock/daemon"
	"xvsock/grant"
	pid1 "xvsock/init"
	"xvsock/link"
	"xvsock/services/logs"
	"xvsock/vsock"
	"xvsock/xenstore"
)

// serviceDomain is the whole life of PID 1. It does not return.
func serviceDomain(o Options, start time.Time) {
	d := newDomain(o, start)
	defer d.init.Guard()
	ctx := context.Background()
	d.init.Go(ctx, d.reaper.Run)
	d.init.Go(ctx, func(ctx context.Context) error {
		pid1.Signals(ctx, func(how pid1.How) { d.end(how) })
		return nil
	})
	err := d.init.Boot(ctx, d.steps())
	if err != nil && !errors.Is(err, pid1.ErrStopping) {
		d.init.Fatal(ctx, err)
	}
	select {} // everything else runs elsewhere, and PID 1 must not exit
}

// stopTimeout bounds the end of the daemon: programs have 2 s to end after SIGTERM, the
// supervisor waits some 6 s for services, and what was written last is to be read.
const stopTimeout = 10 * time.Second

// domain is a service domain between the steps of its boot table.
type domain struct {
	options Options
	kernel  pid1.Kernel
	reaper  *pid1.Reaper
	init    *pid1.Init
	level   *slog.LevelVar
	records *logs.Buffer
	log     *slog.Logger
	tell    *teller

	config   config.Config
	problems []config.Problem

	store   *xenstore.Client
	name    string // for its own answers
	devices *link.Domain
	control net.Listener
	cancel  context.CancelFunc
	ready   chan struct{} // closed once the services listen
	stopped chan struct{} // closed once the daemon has ended
}

// newDomain returns what there is before the first step.
func newDomain(o Options, start time.Time) *domain {
	d := &domain{
		options: o, kernel: pid1.Linux(), reaper: pid1.NewReaper(), level: new(slog.LevelVar),
		records: logs.NewBuffer(0), ready: make(chan struct{}),
	}
	console := pid1.NewConsole(os.Stderr)
	d.log = slog.New(slog.NewMultiHandler(pid1.NewLog(console, d.level, start).Handler(), d.records.Handler(d.level, start)))
	d.tell = &teller{log: d.log}
	d.init = pid1.New(pid1.Options{
		Kernel: d.kernel, Console: console, Log: d.log, Start: start, Reaper: d.reaper, Tell: d.tell.tell,
	})
	return d
}

// steps is the boot table.
func (d *domain) steps() []pid1.Step {
	settings := &pid1.Settings{
		Table: config.Settings(daemon.Known(d.offers())), Level: d.level,
		Use: func(c config.Config, problems []config.Problem) { d.config, d.problems = c, problems },
	}
	modules := pid1.Modules{Kernel: d.kernel}
	return []pid1.Step{
		pid1.MountStep(d.kernel, pid1.Mounts()),
		pid1.ConsoleStep(d.kernel),
		d.init.MemoryStep(),
		d.init.SettingsStep(settings),
		pid1.SurroundingsStep(d.kernel, pid1.Surroundings()),
		pid1.LoopbackStep(d.kernel),
		pid1.ModuleStep(modules, pid1.Drivers(grant.TableEntries)),
		{Name: "xenstore", Run: d.openStore, Stop: d.closeStore},
		d.init.ToolstackStep(settings, d.readSettings),
		d.init.FurtherStep(modules, func() ([]string, bool) { return d.config.Modules, d.config.Strict }),
		d.init.ClockStep(d.startTime),
		{Name: "identity", Run: d.identify},
		{Name: "link", Run: d.start, Stop: d.stop, StopTimeout: stopTimeout},
		{Name: "services", Run: d.awaitServices},
	}
}

// offers are the services that this build can be told to run.
func (d *domain) offers() []daemon.Offer {
	return append(daemon.Builtin(), d.options.Services...)
}

// start is the step "link": it opens the devices and starts the daemon, which
// forms the link as soon as the toolstack has attached the domain.
func (d *domain) start(ctx context.Context) (err error) {
	closeDevices, err := openDevices(ctx, d.devices, d.log)
	if err != nil {
		return err
	}
	if d.control, err = bridge.ListenControl(bridge.ControlPath); err != nil {
		return errors.Join(err, closeDevices())
	}
	run, cfg := daemon.Frontend, d.daemonConfig()
	if d.config.Mode == config.Backend {
		run = daemon.Backend
		if cfg.Rules, err = daemon.PolicySource(d.config.Policy, d.devices, d.log); err != nil {
			return errors.Join(err, d.control.Close(), closeDevices())
		}
		cfg.Budgets = daemon.BudgetsOf(d.config.Budgets)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel, d.stopped = cancel, make(chan struct{})
	d.init.Go(ctx, func(ctx context.Context) error {
		defer close(d.stopped)
		if err := run(ctx, cfg); err != nil {
			return fmt.Errorf("daemon: %w", err)
		}
		return ctx.Err()
	})
	return nil
}

// daemonConfig is what the two kinds of daemon have in common.
func (d *domain) daemonConfig() daemon.Config {
	return daemon.Config{
		Domain: d.devices, Name: d.name, Version: d.options.Version,
		Services: daemon.Offers(d.config.Services, d.offers(), programs{d.reaper}),
		Settings: d.config, Problems: d.problems, Logs: d.records, Level: d.level,
		Bridge:  daemon.Bridge{Open: openAFVsock, Door: vsock.DoorPath},
		Control: d.control, Ready: func() { close(d.ready) }, Resumed: d.tell.again, Log: d.log,
		Shutdown: func(reboot bool) {
			how := pid1.PowerOff
			if reboot {
				how = pid1.Reboot
			}
			d.end(how)
		},
	}
}

// end begins the end of the domain, and does not wait for it.
func (d *domain) end(how pid1.How) {
	// An error says that the domain is ending already, or cannot end.
	d.init.Go(context.Background(), func(ctx context.Context) error { _ = d.init.Shutdown(ctx, how); return nil })
}

// awaitServices is the step "services": those that every domain has listen, and of
// the others it is known whether they do.
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
	d.log.Info("memory of PID 1", "peak", peakMemory())
	// The devices end with the domain. To unbind what is bound would first wait until no
	// resume can be on its way.
	return d.control.Close()
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
