package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"xvsock/config"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// attachFlags are those of attach.
type attachFlags struct {
	backend string
	watch   []string
	tags    []string
	domains string
}

// attachCommand is `xvsock attach`.
func (a *app) attachCommand() *cobra.Command {
	var f attachFlags
	c := &cobra.Command{
		Use:   "attach [DOMAIN | --watch GLOB...]",
		Short: "Give a domain its front link (in the toolstack's domain)",
		Long: "attach writes the xenstore nodes by which DOMAIN (name, uuid or id) and its backend\n" +
			"find each other. It works before or after either side has started. A domain that\n" +
			"is attached already moves to the given backend. A number is an id, never a name.\n\n" +
			"With --watch it runs until it is interrupted, and attaches every domain whose name\n" +
			"matches, now and whenever one appears: new, rebooted, restored. It also removes\n" +
			"what domains that are gone have left behind, and attaches a domain again that has\n" +
			"other tags than those of the table and of --tag.\n\n" +
			"With --backend alone it moves every domain that is attached, to any backend, to\n" +
			"this one; each keeps its tags, unless the table has others.",
		Args: f.check,
		RunE: func(c *cobra.Command, args []string) error {
			table, err := a.readTable(c, f.domains)
			if err != nil {
				return err
			}
			return a.withStore(func(store *xenstore.Client) error {
				switch {
				case len(f.watch) > 0:
					return f.runWatch(c.Context(), store, table, c.ErrOrStderr())
				case len(args) == 0:
					return f.runMove(c.Context(), store, table, c.OutOrStdout())
				}
				return f.runAttach(c.Context(), store, table, args[0], c.OutOrStdout())
			})
		},
	}
	c.Flags().StringVar(&f.backend, "backend", "0", "the backend's domain: name, uuid or id")
	c.Flags().StringArrayVar(&f.watch, "watch", nil, "attach the domains with such names as they appear; * and ? are wild (may repeat)")
	c.Flags().StringArrayVar(&f.tags, "tag", nil, "tag of the domain, for policy, besides the table's (may repeat)")
	domainsFlag(c, &f.domains)
	return c
}

// check checks the flags, and that they go together with the arguments.
func (f *attachFlags) check(c *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return fmt.Errorf("accepts 1 arg, received %d", len(args))
	case len(args) == 1 && len(f.watch) > 0:
		return fmt.Errorf("give the DOMAIN %.40q or --watch, not both", args[0])
	case len(args) == 0 && len(f.watch) == 0 && !c.Flags().Changed("backend"):
		return errors.New("accepts 1 arg, the DOMAIN; without it give --watch GLOB, or --backend NEW to move all to")
	case len(args) == 0 && len(f.watch) == 0 && len(f.tags) > 0:
		return errors.New("--tag needs a DOMAIN or --watch: domains that are moved keep their tags")
	}
	if err := toolstack.CheckTags(f.tags); err != nil {
		return fmt.Errorf("--tag: %w", err)
	}
	return checkPatterns("--watch", f.watch)
}

// checkPatterns checks the patterns for names that a flag gave.
func checkPatterns(flag string, patterns []string) error {
	if err := toolstack.CheckPatterns(patterns); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// domainsFlag adds --domains to a command that attaches.
func domainsFlag(c *cobra.Command, path *string) {
	c.Flags().StringVar(path, "domains", toolstack.TablePath, "table of domains and their tags (TOML)")
}

// readTable reads the table of domains. Only the one that was named has to be there.
func (a *app) readTable(c *cobra.Command, path string) (*toolstack.Table, error) {
	if c.Flags().Changed("domains") {
		return a.namedTable(path)
	}
	table, err := toolstack.ReadDefaultTable()
	if err == nil {
		err = a.checkTable(table)
	}
	if err != nil {
		return nil, &setupError{err}
	}
	return table, nil
}

// namedTable reads the table of domains that --domains names.
func (a *app) namedTable(path string) (*toolstack.Table, error) {
	table, err := toolstack.ReadTable(path)
	if err == nil {
		err = a.checkTable(table)
	}
	if err != nil {
		return nil, &setupError{fmt.Errorf("--domains: %w", err)}
	}
	return table, nil
}

// checkTable checks what the table tells domains, as they will when they boot.
func (a *app) checkTable(table *toolstack.Table) error {
	for _, d := range table.Domains() {
		nodes, problems := config.Nodes(table.Config(d.Domain))
		nodes.Name = fmt.Sprintf("config of %s", printable(d.Domain.String()))
		_, more := a.table().Resolve(nodes)
		if problems = append(problems, more...); len(problems) > 0 {
			return errors.New(problems[0].String())
		}
	}
	return nil
}

// runAttach attaches one domain.
func (f *attachFlags) runAttach(ctx context.Context, store *xenstore.Client, table *toolstack.Table, spec string, out io.Writer) error {
	all, err := toolstack.List(ctx, store)
	if err != nil {
		return err
	}
	front, err := toolstack.Pick(all, spec)
	if err != nil {
		return err
	}
	back, err := toolstack.Pick(all, f.backend)
	if err != nil {
		return fmt.Errorf("--backend: %w", err)
	}
	known := toolstack.Distinct(all, front)
	if err := toolstack.AttachWith(ctx, store, front, back, toolstack.AttachOptions{
		Tags: toolstack.UniteTags(f.tags, table.Tags(known)), Config: table.Config(known),
	}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "attached %s to backend %s\n", printable(front.String()), printable(back.String()))
	return err
}

// runWatch attaches domains as they appear.
func (f *attachFlags) runWatch(ctx context.Context, store *xenstore.Client, table *toolstack.Table, log io.Writer) error {
	return toolstack.Watch(ctx, store, toolstack.WatchConfig{
		Match: f.watch, Backend: f.backend, Log: slog.New(slog.NewTextHandler(log, nil)),
		Tags:   func(d toolstack.Domain) []string { return toolstack.UniteTags(f.tags, table.Tags(d)) },
		Config: table.Config,
	})
}

// runMove moves every domain that is attached.
func (f *attachFlags) runMove(ctx context.Context, store *xenstore.Client, table *toolstack.Table, out io.Writer) error {
	back, err := toolstack.Find(ctx, store, f.backend)
	if err != nil {
		return fmt.Errorf("--backend: %w", err)
	}
	moved, err := toolstack.Move(ctx, store, back, table.Tags)
	for _, d := range moved {
		fmt.Fprintf(out, "moved %s to backend %s\n", printable(d.String()), printable(back.String()))
	}
	if len(moved) == 0 && err == nil {
		fmt.Fprintf(out, "no domain to move to backend %s\n", printable(back.String()))
	}
	return err
}

// detachCommand is `xvsock detach`.
func (a *app) detachCommand() *cobra.Command {
	return &cobra.Command{
		Use: "detach DOMAIN", Short: "Take a domain's front link away", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(func(store *xenstore.Client) error {
				front, err := toolstack.Find(c.Context(), store, args[0])
				if err != nil {
					return err
				}
				if err := toolstack.Detach(c.Context(), store, front); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "detached %s\n", printable(front.String()))
				return err
			})
		},
	}
}
