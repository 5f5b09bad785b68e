package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xvsock/daemon"
	"xvsock/manager/policy"
)

// policyShowCommand is `xvsock policy show`.
func (a *app) policyShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "show", Short: "Show the rules that the running backend goes by", Args: noArgs,
		Long: "show prints the rules in force, in order, with where each stands, after what is\n" +
			"allowed without a rule; where they are from; and why newer ones were refused.",
	}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		reply, err := a.askPolicy(c.Context())
		if err != nil {
			return err
		}
		if *output == outputJSON {
			return printJSON(c.OutOrStdout(), showJSON(reply))
		}
		if err := printFields(c.OutOrStdout(), showFields(reply)); err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout())
		return printList(c.OutOrStdout(), outputTable, nil,
			[]string{"WHERE", "PORTS", "SOURCE", "DESTINATION", "ACTION", "PARAMETERS"}, ruleRows(reply.Rules))
	}
	return c
}

// ruleRows are the rules as rows of a table, and what decides behind the last.
func ruleRows(rules []daemon.PolicyRule) [][]string {
	const fields = 4 // before the parameters
	var rows [][]string
	for _, r := range rules {
		row := append(make([]string, 0, fields+2), fmt.Sprintf("%s:%d", r.File, r.Line))
		row = append(row, strings.Fields(r.Text)...)
		parameters := strings.Join(row[min(fields+1, len(row)):], " ")
		for len(row) <= fields {
			row = append(row, "")
		}
		rows = append(rows, append(row[:fields+1], parameters))
	}
	return append(rows, []string{"built-in", "*", "*", "*", "deny", ""})
}

// policyJSON is a policy as `-o json` prints it. The shape only ever grows.
type policyJSON struct {
	daemon.PolicyReply
	Builtin []string `json:"builtin"`
}

// showJSON is reply for `-o json`: its lists are lists also when they are empty.
func showJSON(reply daemon.PolicyReply) policyJSON {
	rules := make([]daemon.PolicyRule, 0, len(reply.Rules))
	for _, r := range reply.Rules {
		r.Text = oneBlank(r.Text)
		rules = append(rules, r)
	}
	reply.Rules = rules
	reply.Domains = append([]daemon.PolicyDomain{}, reply.Domains...)
	reply.Unconfirmed = append([]uint16{}, reply.Unconfirmed...)
	return policyJSON{reply, policy.Builtin()}
}

// showFields is what there is to say about a policy beside its rules.
func showFields(reply daemon.PolicyReply) [][]string {
	version := reply.Version
	if version == "" {
		version = "none was good yet"
	}
	all := [][]string{{"source", reply.Source}, {"version", version}}
	if !reply.Since.IsZero() {
		all = append(all, []string{"since", reply.Since.Format(time.RFC3339)})
	}
	if reply.Error != "" {
		all = append(all, []string{"error", reply.Error})
	}
	if !reply.RefusedSince.IsZero() {
		all = append(all, []string{"error since", reply.RefusedSince.Format(time.RFC3339)})
	}
	for _, text := range policy.Builtin() {
		all = append(all, []string{"built-in", text})
	}
	if len(reply.Unconfirmed) > 0 {
		all = append(all, []string{"not confirmed by", strings.Join(unconfirmed(reply), ", ")})
	}
	return all
}

// unconfirmed names the domains that have not confirmed the set in force.
func unconfirmed(reply daemon.PolicyReply) []string {
	known := make(map[uint16]string)
	for _, d := range reply.Domains {
		known[d.Domain] = domainName(policyDomain(d))
	}
	var names []string
	for _, id := range reply.Unconfirmed {
		name := known[id]
		if name == "" {
			name = decimal(id)
		}
		names = append(names, name)
	}
	return names
}
