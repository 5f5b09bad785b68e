package cli

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xvsock/bridge"
	"xvsock/config"
	"xvsock/daemon"
	"xvsock/link"
	"xvsock/services/logs"
	"xvsock/services/payload"
	"xvsock/toolstack"
)

// daemonFlags are those that both daemons take and that are no settings; the others
// are read where settings are.
type daemonFlags struct {
	file string
}

// add adds the flags to c.
func (f *daemonFlags) add(a *app, c *cobra.Command) {
	c.Flags().String("name", "", "label of this domain in its own answers (default: the toolstack's name)")
	c.Flags().StringArray("service", nil, "service to run: "+builtinNames()+",\nor a program or socket as NAME:PORT:exec:/PATH (see docs/configuration.md; may repeat)")
	c.Flags().String("poll", "on", "on or off: look for what other domains send before sleeping, where that has been quicker")
	c.Flags().String("bridge", "on", "on or off: let programs here reach other domains by AF_VSOCK sockets")
	c.Flags().StringArray("bridge-deny", nil, "port, or FIRST-LAST, of other domains that programs here may not connect to\n(may repeat)")
	c.Flags().String("door-mode", "0660", "rights of the unix socket for programs")
	c.Flags().String("door-group", config.DefaultDoorGroup, "its group")
	c.Flags().String("log", "info", "debug, info, warn or error")
	c.Flags().StringVar(&f.file, "config", config.FilePath, "file of settings, weaker than these flags; it need not be there")
}

// builtinNames lists the services that --service takes by their names.
func builtinNames() string {
	var names []string
	for _, o := range daemon.Builtin() {
		names = append(names, o.Info.Name)
	}
	return strings.Join(names, ", ")
}

// domainCommand is `xvsock domain`.
func (a *app) domainCommand() *cobra.Command {
	var f daemonFlags
	c := &cobra.Command{
		Use: "domain", Short: "Link this domain to its backend (in an ordinary domU)", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.runDaemon(c, &f, daemon.Frontend)
		},
	}
	f.add(a, c)
	return c
}

// runDaemon runs a daemon on the real platform until it is told to end.
func (a *app) runDaemon(c *cobra.Command, f *daemonFlags, run func(context.Context, daemon.Config) error) error {
	flags, err := a.flagSettings(c)
	if err != nil {
		return err
	}
	level, records := new(slog.LevelVar), logs.NewBuffer(0)
	log := slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level}), records.Handler(level, time.Now())))
	ctx := c.Context()
	dom, closeDomain, err := a.openDomain(ctx, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := closeDomain(); err != nil {
			log.Warn("close devices", "error", err)
		}
	}()
	told, err := a.readSettings(ctx, dom, flags, f.file, c.Flags().Changed("config"), log)
	if err != nil {
		return err
	}
	level.Set(told.Log)
	control, err := bridge.ListenControl(a.control)
	if err != nil {
		return &setupError{err}
	}
	defer control.Close()
	notify := newNotifier(ctx, log)
	err = run(ctx, daemon.Config{
		Domain: dom, Name: ownName(ctx, told.Name, dom), Version: a.version, Control: control, Log: log,
		Bridge:   daemon.Bridge{Open: a.platform.AFVsock, Door: a.door()},
		Services: daemon.Offers(told.Services, a.offers, payload.OwnChildren()),
		Settings: told.Config, Problems: told.problems, Logs: records, Level: level,
		Ready: func() {
			log.Info("ready", "domain", dom.ID(), "control", a.control)
			notify.ready("serving as domain %v, control socket %s", dom.ID(), a.control)
		},
	})
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// ownName is the label of this domain: the one that was given, or the toolstack's
// name, which every domain may read of itself.
func ownName(ctx context.Context, given string, dom *link.Domain) string {
	if given != "" {
		return given
	}
	self, err := toolstack.Describe(ctx, dom.Store, dom.ID())
	if err != nil {
		return "" // a label is not worth more
	}
	return self.Name
}
