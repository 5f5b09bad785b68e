package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/daemon"
	"xvsock/manager/policy"
	"xvsock/manager/policy/source"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// policyPushCommand is `xvsock policy push`.
func (a *app) policyPushCommand() *cobra.Command {
	var backend string
	var empty bool
	c := &cobra.Command{
		Use: "push [DIR]", Short: "Write the rules of a directory into xenstore (in the toolstack's domain)", Args: cobra.MaximumNArgs(1),
		Long: "push checks the rules of DIR (default " + daemon.PolicyDir + ") and writes them, all or\n" +
			"none, where a backend that takes its policy from xenstore sees them at once. That is\n" +
			"one in a domU; in domain 0 only with `xvsock backend --policy xenstore`.",
	}
	c.Flags().StringVar(&backend, "backend", "", "the backend's domain: name, uuid or id (default: the only one)")
	c.Flags().BoolVar(&empty, "empty", false, "push also if there is no rule, so that everything is denied")
	c.RunE = func(c *cobra.Command, args []string) error {
		dir := daemon.PolicyDir
		if len(args) > 0 {
			dir = args[0]
		}
		l, err := loadPolicy(dir)
		if err != nil {
			return err
		}
		for _, name := range l.Skipped {
			fmt.Fprintf(c.ErrOrStderr(), "xvsock: %s is left out: a policy file is named as 10-name.policy\n", printable(name))
		}
		rules := texts(l.Set)
		if len(rules) == 0 && !empty {
			return &setupError{fmt.Errorf("there is no rule in any policy file of %s: everything would be denied; if that is meant, give --empty", dir)}
		}
		return a.withStore(func(store *xenstore.Client) error {
			back, err := findBackend(c.Context(), store, backend)
			if err != nil {
				return err
			}
			return pushTo(c, store, back, rules)
		})
	}
	return c
}

// pushTo pushes rules to a backend.
func pushTo(c *cobra.Command, store *xenstore.Client, back toolstack.Domain, rules []string) error {
	if err := toolstack.PushPolicy(c.Context(), store, back, rules); err != nil {
		return err
	}
	if back.ID == 0 {
		fmt.Fprintf(c.ErrOrStderr(), "xvsock: a backend in domain 0 reads a directory, unless it was started with --policy %s\n", daemon.PolicyInStore)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "pushed %d rules to backend %s, version %s\n",
		len(rules), printable(back.String()), source.StoreVersion(rules))
	return err
}

// texts are the rules of a set as they are pushed.
func texts(s *policy.Set) []string {
	all := make([]string, 0, len(s.Rules()))
	for _, r := range s.Rules() {
		all = append(all, oneBlank(r.Text))
	}
	return all
}

// findBackend returns the domain that spec names, or for "" the only one that has
// been a backend.
func findBackend(ctx context.Context, store *xenstore.Client, spec string) (toolstack.Domain, error) {
	if spec != "" {
		d, err := toolstack.Find(ctx, store, spec)
		if err != nil {
			err = fmt.Errorf("--backend: %w", err)
		}
		return d, err
	}
	found, err := toolstack.Backends(ctx, store)
	if err != nil {
		return toolstack.Domain{}, err
	}
	if len(found) != 1 {
		return toolstack.Domain{}, &setupError{fmt.Errorf("%d domains have frontends attached: say --backend", len(found))}
	}
	return found[0], nil
}
