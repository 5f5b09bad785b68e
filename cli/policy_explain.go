package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"xvsock/manager/policy"
	"xvsock/services"
)

// policyExplainCommand is `xvsock policy explain`.
func (a *app) policyExplainCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use: "explain SRC DST PORT", Short: "Say which rule decides, and which would have", Args: questionArgs,
		Long: "explain says what `xvsock policy check` would, by which rule, which later rules match\n" +
			"too, and what the caller sees. It exits with 0 whatever the answer is.\n\n" + policyHelp,
	}
	output := outputFlag(c)
	f.add(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		d, err := a.answer(c.Context(), f, args)
		if err != nil {
			return err
		}
		if *output == outputJSON {
			return printJSON(c.OutOrStdout(), d.explainJSON())
		}
		return printFields(c.OutOrStdout(), d.fields())
	}
	return c
}

// explanationJSON is an explanation as `-o json` prints it. The shape only ever
// grows.
type explanationJSON struct {
	verdictJSON
	Later     []*ruleJSON `json:"later"`     // that match too, in order
	Ambiguous []*ruleJSON `json:"ambiguous"` // that would match if the name were nobody else's
}

// explainJSON is d with all that is known about it, for `-o json`.
func (d verdict) explainJSON() explanationJSON {
	return explanationJSON{d.json(), jsonRules(d.Later), jsonRules(d.Ambiguous)}
}

// fields is what there is to say about d.
func (d verdict) fields() [][]string {
	port := fmt.Sprint(d.port)
	if name := services.WellKnown(d.port); name != "" {
		port += " (" + name + ")"
	}
	all := [][]string{
		{"source", describeDomain(d.src)},
		{"destination", describeDomain(d.dst)},
		{"port", port},
		{"answer", d.String()},
	}
	if d.daemon && !d.allow {
		all = append(all, []string{"but", builtinText(1)})
	}
	if !d.allow {
		sees := "no route to host (EHOSTUNREACH): no rule lets it reach any port there"
		if d.Reachable {
			sees = "permission denied (EACCES): it may reach other ports there"
		}
		all = append(all, []string{"caller sees", sees})
	}
	if d.builtin != "" && d.Rule != nil {
		all = append(all, ruleField("without effect", d.Rule))
	}
	for _, r := range d.Later {
		all = append(all, ruleField("matches later", r))
	}
	for _, r := range d.Ambiguous {
		all = append(all, ruleField("ambiguous name", r))
	}
	return all
}

// ruleField is a field that shows a rule.
func ruleField(name string, r *policy.Rule) []string {
	return []string{name, place(r) + ": " + oneBlank(r.Text)}
}

// describeDomain is what rules see of a domain.
func describeDomain(d policy.Domain) string {
	parts := []string{domainName(d)}
	if d.Backend {
		parts = append(parts, "the backend's")
	}
	if d.Name != "" && d.UUID != "" {
		parts = append(parts, "uuid:"+d.UUID)
	}
	for _, t := range d.Tags {
		parts = append(parts, "@tag:"+t)
	}
	if d.Twin {
		parts = append(parts, "a name that another domain has too, so no name in a rule matches it")
	}
	if d.TwinUUID {
		parts = append(parts, "a uuid that another domain has too, so no uuid in a rule matches it")
	}
	return strings.Join(parts, ", ")
}

// printFields writes names and values, aligned. Values may be other domains' text.
func printFields(w io.Writer, fields [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range fields {
		fmt.Fprintf(t, "%s\t%s\n", f[0], printable(f[1]))
	}
	return t.Flush()
}
