package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/manager/policy"
)

// warningJSON is a warning as `-o json` prints it. The shape only ever grows.
type warningJSON struct {
	File   string `json:"file"` // empty, with line 0: about all rules or a pair of domains
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// policyLintCommand is `xvsock policy lint`.
func (a *app) policyLintCommand() *cobra.Command {
	var f policyFlags
	var strict bool
	c := &cobra.Command{
		Use: "lint", Short: "Find rules that are most likely not what was meant", Args: noArgs,
		Long: "lint prints rules that never match, that have no effect, that allow more than they\n" +
			"seem to, or that are about no known domain, and files that are ignored for their\n" +
			"name. It exits with 1 if the rules do not parse.\n\n" +
			"The running backend is asked for its rules and domains; with --policy nothing needs to\n" +
			"run.",
	}
	output := outputFlag(c)
	f.add(c)
	c.Flags().BoolVar(&strict, "strict", false, "exit with 1 also if there is a warning")
	c.RunE = func(c *cobra.Command, _ []string) error {
		v, err := a.view(c.Context(), f)
		if err != nil {
			return err
		}
		list := v.lint()
		if err := printWarnings(c, *output, list); err != nil {
			return err
		}
		switch {
		case v.trouble != "":
			return fmt.Errorf("the backend has trouble with its policy: %s", v.trouble)
		case strict && len(list) > 0:
			return fmt.Errorf("%d of the rules or files are doubtful", len(list))
		}
		return nil
	}
	return c
}

// lint looks over the rules.
func (v *policyView) lint() []warningJSON {
	list := make([]warningJSON, 0)
	for _, name := range v.skipped {
		list = append(list, warningJSON{File: name, Reason: "ignored: a policy file is named as 10-name.policy"})
	}
	if len(v.set.Rules()) == 0 {
		list = append(list, warningJSON{Reason: "there is no rule in any policy file: everything is denied"})
	}
	for _, w := range policy.Lint(v.set, v.domains) {
		j := warningJSON{Reason: w.Reason}
		if w.Rule != nil {
			j.File, j.Line = w.Rule.File, w.Rule.Line
		}
		list = append(list, j)
	}
	return list
}

// printWarnings prints one line a warning, as compilers do.
func printWarnings(c *cobra.Command, output string, list []warningJSON) error {
	if output == outputJSON {
		return printJSON(c.OutOrStdout(), list)
	}
	var failed error
	for _, w := range list {
		at := ""
		if w.File != "" {
			at = w.File + ": "
		}
		if w.Line > 0 {
			at = fmt.Sprintf("%s:%d: ", w.File, w.Line)
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), printable(at+w.Reason))
		failed = errors.Join(failed, err)
	}
	return failed
}
