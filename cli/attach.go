package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/toolstack"
	"xvsock/xenstore"
)

// attachCommand is `xvsock attach`.
func (a *app) attachCommand() *cobra.Command {
	var backend string
	var tags []string
	c := &cobra.Command{
		Use: "attach DOMAIN", Short: "Give a domain its front link (in the toolstack's domain)", Args: cobra.ExactArgs(1),
		Long: "attach writes the xenstore nodes by which DOMAIN (name, uuid or id) and its backend\n" +
			"find each other. It works before or after either side has started. A domain that\n" +
			"is attached already moves to the given backend.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(func(store *xenstore.Client) error {
				front, err := toolstack.Find(c.Context(), store, args[0])
				if err != nil {
					return err
				}
				back, err := toolstack.Find(c.Context(), store, backend)
				if err != nil {
					return fmt.Errorf("--backend: %w", err)
				}
				if err := toolstack.Attach(c.Context(), store, front, back, tags); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "attached %s to backend %s\n", printable(front.String()), printable(back.String()))
				return err
			})
		},
	}
	c.Flags().StringVar(&backend, "backend", "0", "the backend's domain: name, uuid or id")
	c.Flags().StringArrayVar(&tags, "tag", nil, "tag of the domain, for policy (may repeat)")
	return c
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
