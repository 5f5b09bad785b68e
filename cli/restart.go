package cli

import (
	"github.com/spf13/cobra"

	"xvsock/services"
	"xvsock/services/control"
)

// order is an order for a domain, which it takes from the toolstack's.
func order(domain, method string, in any) question {
	return question{domain: domain, port: services.PortControl, method: method, in: in}
}

// restartCommand is `xvsock restart`.
func (a *app) restartCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restart DOMAIN SERVICE", Short: "End a service of a domain and start it again", Args: cobra.ExactArgs(2),
		Long: "restart ends SERVICE in DOMAIN, whose connections end with it, and starts it again at\n" +
			"once: also one that failed and waits for its next try, and one that has finished.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), order(args[0], control.MethodRestart, map[string]string{"service": args[1]}), nil)
		},
	}
}

// logLevelCommand is `xvsock loglevel`.
func (a *app) logLevelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "loglevel DOMAIN LEVEL", Short: "Set the level of a domain's log, until it ends", Args: cobra.ExactArgs(2),
		Long: "loglevel sets the least level that DOMAIN logs: debug, info, warn or error.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), order(args[0], control.MethodSetLog, map[string]string{"level": args[1]}), nil)
		},
	}
}
