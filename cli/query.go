package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/discovery"
)

// servicesCommand is `xvsock services`.
func (a *app) servicesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "services [DOMAIN]", Short: "List services: of the whole host, or as one domain answers", Args: cobra.MaximumNArgs(1),
		Long: "Without DOMAIN, services asks the backend's directory, which knows what all domains\n" +
			"have registered. With DOMAIN it asks port 2 of that domain: an id, self or @backend.\n" +
			"Names and uuids are known in the backend's domain only.\n\n" +
			"What every domain has for its toolstack (health, control, metrics, log) is listed with\n" +
			"--all, or if it is not well.",
	}
	var all bool
	c.Flags().BoolVarP(&all, "all", "a", false, "list also what every domain has for its toolstack")
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		var in daemon.ServicesArgs
		if len(args) == 1 {
			in.Domain = args[0]
		}
		var out daemon.ServicesReply
		if err := a.call(c.Context(), daemon.MethodServices, in, &out); err != nil {
			return err
		}
		if !all {
			out.Services = slices.DeleteFunc(out.Services, isManagement)
		}
		return printServices(c, *output, out.Services)
	}
	return c
}

// isManagement reports whether a record says nothing that is not known of every domain.
func isManagement(r discovery.Record) bool {
	return r.Port >= services.PortHealth && r.Port <= services.PortLog && r.State == services.Serving
}

// serviceJSON is a service as `-o json` prints it. The shape only ever grows.
type serviceJSON struct {
	Domain string            `json:"domain"`
	UUID   string            `json:"uuid"`
	Name   string            `json:"name"`
	Port   uint32            `json:"port"`
	State  string            `json:"state"`
	CID    uint32            `json:"cid,omitempty"`
	Txt    map[string]string `json:"txt,omitempty"`
}

// printServices prints a list of services.
func printServices(c *cobra.Command, output string, records []discovery.Record) error {
	list := make([]serviceJSON, 0, len(records))
	var rows [][]string
	for _, r := range records {
		s := serviceJSON{Domain: r.Domain, UUID: r.UUID, Name: r.Name, Port: r.Port, State: string(r.State), CID: r.CID, Txt: r.Txt}
		list = append(list, s)
		rows = append(rows, []string{s.Domain, decimal(s.CID), s.Name, decimal(s.Port), s.State, s.UUID})
	}
	return printList(c.OutOrStdout(), output, list, []string{"DOMAIN", "CID", "SERVICE", "PORT", "STATE", "UUID"}, rows)
}

// resolveCommand is `xvsock resolve`.
func (a *app) resolveCommand() *cobra.Command {
	var in daemon.ResolveArgs
	c := &cobra.Command{
		Use: "resolve NAME", Short: "Find the service of a name", Args: cobra.ExactArgs(1),
	}
	output := outputFlag(c)
	c.Flags().StringVar(&in.Domain, "domain", "", "whose service, where several have it: name, uuid, id, self or @backend, in every domain")
	c.RunE = func(c *cobra.Command, args []string) error {
		in.Name = args[0]
		var out daemon.ResolveReply
		if err := a.call(c.Context(), daemon.MethodResolve, in, &out); err != nil {
			return err
		}
		return printServices(c, *output, []discovery.Record{out.Service})
	}
	return c
}

// pingCommand is `xvsock ping`.
func (a *app) pingCommand() *cobra.Command {
	var in daemon.PingArgs
	c := &cobra.Command{
		Use: "ping DOMAIN", Short: "Move bytes through a domain's echo service and compare them", Args: cobra.ExactArgs(1),
		Long: "ping sends random bytes to a service that sends back what it is sent, ends its sending\n" +
			"side, and compares what comes back. That is echo, or with --port another service.",
	}
	var port string
	output := outputFlag(c)
	c.Flags().Int64Var(&in.Bytes, "bytes", 64, fmt.Sprintf("how many bytes, 1 to %d", daemon.MaxPing))
	c.Flags().StringVar(&port, "port", services.WellKnown(services.PortEcho), "port of the service, or its well-known name")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if in.Bytes < 1 || in.Bytes > daemon.MaxPing {
			return &setupError{fmt.Errorf("--bytes %d: use 1 to %d", in.Bytes, daemon.MaxPing)}
		}
		if in.Port, err = services.ParsePort(port); err != nil {
			return &setupError{fmt.Errorf("--port: %w", err)}
		}
		in.Domain = args[0]
		// The daemon bounds the ping; this is for a daemon that hangs.
		ctx, cancel := context.WithTimeout(c.Context(), daemon.PingTime(in.Bytes)+answerMargin)
		defer cancel()
		var out daemon.PingReply
		if err := a.call(ctx, daemon.MethodPing, in, &out); err != nil {
			return err
		}
		took := time.Duration(out.Seconds * float64(time.Second)).Round(time.Microsecond)
		return printList(c.OutOrStdout(), *output, out, []string{"DOMAIN", "BYTES", "TIME"},
			[][]string{{in.Domain, decimal(out.Bytes), took.String()}})
	}
	return c
}

// answerMargin is how much later than the daemon this program gives up.
const answerMargin = 10 * time.Second
