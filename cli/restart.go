package cli

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"xvsock/services/control"
)

// restartCommand is `xvsock restart`.
func (a *app) restartCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restart DOMAIN SERVICE", Short: "End a service of a domain and start it again", Args: cobra.ExactArgs(2),
		Long: "restart ends SERVICE in DOMAIN, whose connections end with it, and starts it again at\n" +
			"once: also one that failed and waits for its next try, and one that has finished.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.withControl(args[0], func(d *control.Client) error { return d.Restart(c.Context(), args[1]) })
		},
	}
}

// logLevelCommand is `xvsock loglevel`.
func (a *app) logLevelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "loglevel DOMAIN LEVEL", Short: "Set the level of a domain's log, until it ends", Args: cobra.ExactArgs(2),
		Long: "loglevel sets the least level that DOMAIN logs: debug, info, warn or error.",
		RunE: func(c *cobra.Command, args []string) error {
			var level slog.Level
			if err := level.UnmarshalText([]byte(args[1])); err != nil {
				return &setupError{fmt.Errorf("level %.40q: use debug, info, warn or error", args[1])}
			}
			return a.withControl(args[0], func(d *control.Client) error { return d.SetLog(c.Context(), level) })
		},
	}
}
