package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/toolstack"
)

// daemonFlags are those that both daemons take.
type daemonFlags struct {
	name     string
	services []string
}

// add adds the flags to c.
func (f *daemonFlags) add(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.name, "name", "", "label of this domain in its own answers (default: the toolstack's name)")
	c.Flags().StringArrayVar(&f.services, "service", nil, "built-in service to run: "+builtinNames()+" (may repeat)")
	c.Flags().StringVar(&a.logLevel, "log", "info", "debug, info, warn or error")
}

// builtinNames lists what --service takes.
func builtinNames() string {
	var names []string
	for _, o := range daemon.Builtin() {
		names = append(names, o.Info.Name)
	}
	return strings.Join(names, ", ")
}

// offers are the services that were asked for.
func (f *daemonFlags) offers() ([]daemon.Offer, error) {
	var out []daemon.Offer
next:
	for _, name := range f.services {
		for _, o := range daemon.Builtin() {
			if o.Info.Name == name {
				out = append(out, o)
				continue next
			}
		}
		return nil, &setupError{fmt.Errorf("--service %q: not built in; there is %s", name, builtinNames())}
	}
	return out, nil
}

// backendCommand is `xvsock backend`.
func (a *app) backendCommand() *cobra.Command {
	var f daemonFlags
	c := &cobra.Command{
		Use: "backend", Short: "Serve the domains attached to this one (usually in dom0)", Args: cobra.NoArgs,
		Long: "backend serves every domain that `xvsock attach` has attached to this domain, now\n" +
			"or later: it keeps their front links and answers on port 2 for the whole host.",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.runDaemon(c, &f, daemon.Backend)
		},
	}
	f.add(a, c)
	return c
}

// domainCommand is `xvsock domain`.
func (a *app) domainCommand() *cobra.Command {
	var f daemonFlags
	c := &cobra.Command{
		Use: "domain", Short: "Link this domain to its backend (in an ordinary domU)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.runDaemon(c, &f, daemon.Frontend)
		},
	}
	f.add(a, c)
	return c
}

// runDaemon runs a daemon on the real platform until it is told to end.
func (a *app) runDaemon(c *cobra.Command, f *daemonFlags, run func(context.Context, daemon.Config) error) error {
	log, err := a.newLog(stderr(c))
	if err != nil {
		return err
	}
	offers, err := f.offers()
	if err != nil {
		return err
	}
	ctx := c.Context()
	dom, closeDomain, err := a.platform.Domain(ctx)
	if err != nil {
		return &setupError{err}
	}
	defer closeDomain()
	control, err := bridge.ListenControl(a.control)
	if err != nil {
		return &setupError{err}
	}
	defer control.Close()
	name := f.name
	if name == "" {
		// The toolstack's name of this domain, which every domain may read.
		if self, err := toolstack.Describe(ctx, dom.Store, dom.ID); err == nil {
			name = self.Name
		}
	}
	err = run(ctx, daemon.Config{
		Domain: dom, Name: name, Version: a.version, Services: offers, Control: control, Log: log,
		Ready: func() { log.Info("ready", "domain", dom.ID, "control", a.control) },
	})
	log.Log(ctx, slog.LevelInfo, "stopped", "error", err)
	return err
}
