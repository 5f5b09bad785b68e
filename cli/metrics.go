package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/daemon"
)

// metricsCommand is `xvsock metrics`.
func (a *app) metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "metrics [DOMAIN]", Short: "Print the metrics of a domain in the text format of Prometheus", Args: cobra.MaximumNArgs(1),
		Long: "metrics prints what port 5 of DOMAIN says, without it that of this domain.",
		RunE: func(c *cobra.Command, args []string) error {
			in := daemon.MetricsArgs{Domain: "self"}
			if len(args) == 1 {
				in.Domain = args[0]
			}
			return a.stream(c.Context(), daemon.MethodMetrics, in, func(part json.RawMessage) error {
				var p daemon.MetricsReply
				if err := json.Unmarshal(part, &p); err != nil {
					return fmt.Errorf("metrics: %w", err)
				}
				for line := range strings.Lines(p.Text) {
					// It is the other domain's text.
					if _, err := fmt.Fprintln(c.OutOrStdout(), printable(strings.TrimSuffix(line, "\n"))); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
