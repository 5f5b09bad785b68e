package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"xvsock/config"
	"xvsock/daemon"
	"xvsock/manager"
	"xvsock/toolstack"
)

// backendFlags are the backend's own.
type backendFlags struct {
	daemonFlags
	attach  []string
	domains string
}

// backendCommand is `xvsock backend`.
func (a *app) backendCommand() *cobra.Command {
	var f backendFlags
	c := &cobra.Command{
		Use: "backend", Short: "Serve the domains attached to this one (usually in dom0)", Args: noArgs,
		Long: "backend serves every domain that `xvsock attach` has attached to this domain, now\n" +
			"or later: it keeps their front links, answers on port 2 for the whole host, and is the\n" +
			"connection manager: by the toolstack's policy it lets two domains form a direct link.\n" +
			"What no rule allows is denied.",
		RunE: func(c *cobra.Command, _ []string) error { return a.runBackend(c, &f) },
	}
	f.add(a, c)
	c.Flags().String("policy", "", "where the rules are: a directory of NN-name.policy files, or\n"+
		fmt.Sprintf("%q for what was pushed (default: in dom0 %s, elsewhere %s)", daemon.PolicyInStore, daemon.PolicyDir, daemon.PolicyInStore))
	c.Flags().StringArray("budget", nil, "what each frontend may use: "+budgetNames()+" (may repeat)")
	c.Flags().StringArrayVar(&f.attach, "auto-attach", nil, "attach the domains whose name fits this pattern as they appear; in dom0 (may repeat)")
	domainsFlag(c, &f.domains)
	return c
}

// budgetNames lists what --budget takes, with what holds by default.
func budgetNames() string {
	d := manager.DefaultBudgets()
	var names []string
	for _, b := range budgetFields(&d) {
		names = append(names, fmt.Sprintf("%s=%d", b.name, *b.value))
	}
	return strings.Join(names, ", ")
}

// budgetField is one budget by its name.
type budgetField struct {
	name  string
	value *int
}

// budgetFields are the budgets of b by their names.
func budgetFields(b *manager.Budgets) []budgetField {
	return []budgetField{
		{"requests", &b.Requests}, {"burst", &b.Burst}, {"half-open", &b.HalfOpen},
		{"links", &b.Links}, {"connections", &b.Connections}, {"registrations", &b.Registrations},
	}
}

// check checks those flags that need nothing of the platform.
func (f *backendFlags) check(c *cobra.Command) error {
	if len(f.attach) == 0 && c.Flags().Changed("domains") {
		return errors.New("--domains goes with --auto-attach")
	}
	if policy := c.Flag("policy").Value.String(); policy != daemon.PolicyInStore {
		if err := checkDirectory(policy); err != nil {
			return fmt.Errorf("--policy: %w", err)
		}
	}
	return checkPatterns("--auto-attach", f.attach)
}

// runBackend runs the backend's daemon, and beside it what attaches domains.
func (a *app) runBackend(c *cobra.Command, f *backendFlags) error {
	if err := f.check(c); err != nil {
		return &setupError{err}
	}
	var table *toolstack.Table
	if len(f.attach) > 0 {
		var err error
		if table, err = a.readTable(c, f.domains); err != nil {
			return err
		}
	}
	return a.runDaemon(c, &f.daemonFlags, func(ctx context.Context, cfg daemon.Config) (err error) {
		cfg.Budgets = daemon.BudgetsOf(cfg.Settings.Budgets)
		policy := cfg.Settings.Policy
		if cfg.Settings.Origin("policy") == config.Default {
			policy = "" // which depends on the domain
		}
		if cfg.Rules, err = daemon.PolicySource(policy, cfg.Domain, cfg.Log); err != nil {
			return &setupError{err}
		}
		if len(f.attach) == 0 {
			return daemon.Backend(ctx, cfg)
		}
		if cfg.Domain.ID() != 0 {
			return &setupError{errors.New("--auto-attach: only dom0 may attach domains; run `xvsock attach --watch` there")}
		}
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return daemon.Backend(ctx, cfg) })
		group.Go(func() error {
			err := toolstack.Watch(ctx, cfg.Domain.Store, toolstack.WatchConfig{
				Match: f.attach, Backend: cfg.Domain.ID().String(), Tags: table.Tags, Config: table.Config, Log: cfg.Log,
			})
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
		return group.Wait()
	})
}
