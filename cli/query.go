package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xvsock/daemon"
	"xvsock/services/discovery"
)

// servicesCommand is `xvsock services`.
func (a *app) servicesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "services [DOMAIN]", Short: "List services: of the whole host, or as one domain answers", Args: cobra.MaximumNArgs(1),
		Long: "Without DOMAIN, services asks the backend's directory, which knows what all domains\n" +
			"have registered. With DOMAIN it asks port 2 of that domain: an id, self or @backend.\n" +
			"Names and uuids are known in the backend's domain only.",
	}
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
		return printServices(c, *output, out.Services)
	}
	return c
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

// statusCommand is `xvsock status`.
func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Say what the daemon of this domain is doing", Args: noArgs}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var s daemon.Status
		if err := a.call(c.Context(), daemon.MethodStatus, nil, &s); err != nil {
			return err
		}
		up := 0
		for _, l := range s.Links {
			if l.Up {
				up++
			}
		}
		uptime := time.Duration(s.Uptime * float64(time.Second)).Truncate(time.Second).String()
		err := printList(c.OutOrStdout(), *output, s, []string{"ROLE", "DOMAIN", "NAME", "LINKS UP", "UPTIME", "VERSION"},
			[][]string{{s.Role, decimal(s.Domain), s.Name, fmt.Sprintf("%d of %d", up, len(s.Links)), uptime, s.Version}})
		if err != nil || s.Policy == nil || *output != outputTable {
			return err
		}
		return printPolicyState(c, s.Policy)
	}
	return c
}

// printPolicyState prints what is in force at a backend, and what is wrong with what
// should be.
func printPolicyState(c *cobra.Command, p *daemon.PolicyState) error {
	fmt.Fprintln(c.OutOrStdout())
	return printList(c.OutOrStdout(), outputTable, nil, []string{"POLICY", "VERSION", "RULES", "UNCONFIRMED", "ERROR"},
		[][]string{{p.Source, p.Version, decimal(p.Rules), decimal(p.Unconfirmed), p.Error}})
}

// peersCommand is `xvsock peers`.
func (a *app) peersCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "peers", Short: "List the links of this domain, and whom it may link to", Args: noArgs,
		Long: "peers lists the domains that this one is linked to, or may be. In a frontend these\n" +
			"are its backend and its peers, with the ports that policy opens there (OUT) and here\n" +
			"(IN). In the backend's domain they are the frontends, with the peers that each one\n" +
			"has a direct link to.",
	}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var s daemon.Status
		if err := a.call(c.Context(), daemon.MethodStatus, nil, &s); err != nil {
			return err
		}
		head := []string{"DOMAIN", "NAME", "ROLE", "LINK", "CONNECTIONS", "PAGES", "OUT", "IN", "UUID"}
		if s.Policy != nil {
			head = []string{"DOMAIN", "NAME", "ROLE", "LINK", "CONNECTIONS", "PAGES", "LINKED TO", "UUID"}
		}
		var rows [][]string
		for _, l := range s.Links {
			row := []string{decimal(l.Domain), l.Name, l.Kind, l.State, decimal(l.Connections), decimal(l.Pages)}
			if s.Policy == nil {
				row = append(row, openPorts(l, l.Out), openPorts(l, l.In))
			} else {
				row = append(row, linkedTo(l))
			}
			rows = append(rows, append(row, l.UUID))
		}
		return printList(c.OutOrStdout(), *output, s.Links, head, rows)
	}
	return c
}

// openPorts are those that a peer opens, or that are open to it; with the backend it
// decides.
func openPorts(l daemon.Link, open []string) string {
	if l.Backend {
		return "*"
	}
	return strings.Join(open, ",")
}

// linkedTo names the peers of a frontend.
func linkedTo(l daemon.Link) string {
	var names []string
	for _, p := range l.Links {
		names = append(names, cmp.Or(p.Name, decimal(p.Domain)))
	}
	return strings.Join(names, ",")
}

// pingCommand is `xvsock ping`.
func (a *app) pingCommand() *cobra.Command {
	var in daemon.PingArgs
	c := &cobra.Command{
		Use: "ping DOMAIN", Short: "Move bytes through a domain's echo service and compare them", Args: cobra.ExactArgs(1),
	}
	output := outputFlag(c)
	c.Flags().Int64Var(&in.Bytes, "bytes", 64, fmt.Sprintf("how many bytes, 1 to %d", daemon.MaxPing))
	c.RunE = func(c *cobra.Command, args []string) error {
		if in.Bytes < 1 || in.Bytes > daemon.MaxPing {
			return &setupError{fmt.Errorf("--bytes %d: use 1 to %d", in.Bytes, daemon.MaxPing)}
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
