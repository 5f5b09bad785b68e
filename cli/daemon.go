package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/link"
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
	log, err := a.newLog(c.ErrOrStderr())
	if err != nil {
		return err
	}
	offers, err := f.offers()
	if err != nil {
		return err
	}
	ctx := c.Context()
	dom, closeDomain, err := a.openDomain(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := closeDomain(); err != nil {
			log.Warn("close devices", "error", err)
		}
	}()
	control, err := bridge.ListenControl(a.control)
	if err != nil {
		return &setupError{err}
	}
	defer control.Close()
	err = run(ctx, daemon.Config{
		Domain: dom, Name: a.ownName(ctx, f, dom), Version: a.version, Services: offers, Control: control, Log: log,
		Ready: func() { log.Info("ready", "domain", dom.ID(), "control", a.control) },
	})
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// ownName is the label of this domain: the one that was given, or the toolstack's
// name, which every domain may read of itself.
func (a *app) ownName(ctx context.Context, f *daemonFlags, dom *link.Domain) string {
	if f.name != "" {
		return f.name
	}
	self, err := toolstack.Describe(ctx, dom.Store, dom.ID())
	if err != nil {
		return "" // a label is not worth more
	}
	return self.Name
}

// newLog returns the log of a daemon that runs in a terminal or under a service
// manager.
func (a *app) newLog(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, &setupError{fmt.Errorf("--log %q: use debug, info, warn or error", a.logLevel)}
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}
