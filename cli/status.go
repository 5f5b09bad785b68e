package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/control"
	"xvsock/toolstack"
)

// status asks the daemon of this domain, or of the one that args names.
func (a *app) status(ctx context.Context, args []string) (s daemon.Status, err error) {
	first := true
	add := func(part daemon.Status) {
		if first {
			s, first = part, false
			return
		}
		s.Add(part)
	}
	if len(args) == 0 {
		err = a.stream(ctx, daemon.MethodStatus, nil, func(data json.RawMessage) error {
			var part daemon.Status
			err := json.Unmarshal(data, &part)
			add(part)
			return err
		})
		return s, err
	}
	err = a.statusParts(ctx, args[0], add)
	return s, err
}

// How long a domain may take to tell its status, and in how many parts: it is not to be
// trusted to end.
const (
	statusTime  = 30 * time.Second
	statusParts = 256
)

// statusParts asks a domain for its status, and gives each part of it to add.
func (a *app) statusParts(ctx context.Context, domain string, add func(daemon.Status)) error {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	q, err := a.asking(domain, services.PortControl)
	if err != nil {
		return err
	}
	defer q.Close()
	n := 0
	for data, err := range q.Stream(ctx, control.MethodStatus, nil) {
		if n++; err == nil && n > statusParts {
			err = fmt.Errorf("%w: status in more than %d parts", control.ErrPeer, statusParts)
		}
		var part daemon.StatusReply
		if err == nil {
			err = json.Unmarshal(data, &part)
		}
		if err != nil {
			return fmt.Errorf("status of %q: %w", domain, err)
		}
		add(part.Status)
	}
	return nil
}

// statusCommand is `xvsock status`.
func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "status [DOMAIN]", Short: "Say what the daemon of a domain is doing", Args: cobra.MaximumNArgs(1),
		Long: "Without DOMAIN, status asks the daemon of this domain. With DOMAIN it asks that one,\n" +
			"which answers the domain of its backend and dom0. Of one that cannot answer, dom0\n" +
			"knows what it has said of its boot.",
	}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		s, err := a.status(c.Context(), args)
		if err != nil {
			a.printBoot(c, args)
			return err
		}
		up := 0
		for _, l := range s.Links {
			if l.Up {
				up++
			}
		}
		uptime := time.Duration(s.Uptime * float64(time.Second)).Truncate(time.Second).String()
		err = printList(c.OutOrStdout(), *output, s, []string{"ROLE", "DOMAIN", "NAME", "LINKS UP", "UPTIME", "VERSION"},
			[][]string{{s.Role, decimal(s.Domain), s.Name, fmt.Sprintf("%d of %d", up, len(s.Links)), uptime, s.Version}})
		if err != nil || *output != outputTable {
			return err
		}
		if s.Policy != nil {
			if err := printPolicyState(c, s.Policy); err != nil {
				return err
			}
		}
		return printBridge(c, s)
	}
	return c
}

// printBridge prints how other programs of the domain reach its daemon, and why not.
func printBridge(c *cobra.Command, s daemon.Status) error {
	if s.AFVsock == nil {
		return nil // a daemon that knows nothing of it
	}
	rows := [][]string{{"AF_VSOCK", "off", s.AFVsock.Reason}}
	if s.AFVsock.On {
		open, why := 0, ""
		for _, i := range s.AFVsock.Instances {
			if i.State == "open" {
				open++
			} else if i.Why != "" {
				why = fmt.Sprintf("; CID %d: %s", i.CID, i.Why)
			}
		}
		about := fmt.Sprintf("%d of %d CIDs%s", open, len(s.AFVsock.Instances), why)
		if left := len(s.AFVsock.LeftOut); left > 0 {
			about += fmt.Sprintf("; no room for %d more: give the domain more memory", left)
		}
		rows[0] = []string{"AF_VSOCK", "on", about}
	}
	switch {
	case s.Door == nil:
	case !s.Door.On:
		rows = append(rows, []string{"unix socket", "off", s.Door.Reason})
	default:
		rows = append(rows, []string{"unix socket", "on", fmt.Sprintf("%s, %d programs", s.Door.Path, s.Door.Programs)})
	}
	fmt.Fprintln(c.OutOrStdout())
	return printList(c.OutOrStdout(), outputTable, nil, []string{"PROGRAMS BY", "STATE", "ABOUT"}, rows)
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
		Use: "peers [DOMAIN]", Short: "List the links of a domain, and whom it may link to", Args: cobra.MaximumNArgs(1),
		Long: "peers lists the domains that this one, or DOMAIN, is linked to, or may be. In a frontend these\n" +
			"are its backend and its peers, with the ports that policy opens there (OUT) and here\n" +
			"(IN). In the backend's domain they are the frontends, with the peers that each one\n" +
			"has a direct link to.",
	}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		s, err := a.status(c.Context(), args)
		if err != nil {
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

// printBoot prints what the domain that does not answer has said of its boot, if this
// is the toolstack's domain, and it has said anything.
func (a *app) printBoot(c *cobra.Command, args []string) {
	if len(args) == 0 {
		return
	}
	store, err := a.platform.Store()
	if err != nil {
		return // this is no Xen, or not for this user: the first error says enough
	}
	defer store.Close()
	d, err := toolstack.Find(c.Context(), store, args[0])
	if err != nil {
		return
	}
	boot, err := toolstack.ReadBoot(c.Context(), store, d.ID)
	if err != nil || boot.State == "" {
		return
	}
	w := c.ErrOrStderr()
	fmt.Fprintf(w, "%s says of its boot: %s\n", printable(d.String()), printable(boot.State))
	for _, p := range boot.Problems {
		fmt.Fprintln(w, "  problem:", printable(p))
	}
	if boot.Failure != "" {
		fmt.Fprintln(w, "  failure:", printable(boot.Failure))
	}
}
