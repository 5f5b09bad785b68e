package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/manager/policy"
	"xvsock/services"
	"xvsock/services/discovery"
)

// deniedError says that policy denies; its exit code is that of every denial.
type deniedError struct{ text string }

func (e *deniedError) Error() string        { return e.text }
func (e *deniedError) Is(target error) bool { return target == error(discovery.ErrDenied) }

// verdict is the answer to a question about a pair and a port.
type verdict struct {
	src, dst policy.Domain
	port     uint32
	policy.Explanation
	allow   bool
	builtin string // what allows it without a rule
	// daemon says that the backend's daemon may, for root, whatever the rules say
	// about programs.
	daemon bool
}

// questionArgs checks that there are the arguments of a question.
func questionArgs(c *cobra.Command, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%s takes SRC DST PORT, received %d arguments", c.Name(), len(args))
	}
	return nil
}

// answer answers the question of a command with the arguments SRC DST PORT.
func (a *app) answer(ctx context.Context, f policyFlags, args []string) (verdict, error) {
	v, err := a.view(ctx, f)
	if err != nil {
		return verdict{}, err
	}
	return v.judge(args[0], args[1], args[2])
}

// judge answers whether programs of src may connect to the port of dst.
func (v *policyView) judge(source, destination, port string) (verdict, error) {
	number, err := services.ParsePort(port)
	if err != nil {
		return verdict{}, &setupError{fmt.Errorf("%w: use 1 to 4294967294, or the name of a well-known one", err)}
	}
	src, dst, err := v.pair(source, destination)
	if err != nil {
		return verdict{}, err
	}
	d := verdict{src: src, dst: dst, port: number, Explanation: v.set.Explain(src, dst, number)}
	switch {
	case src.ID == dst.ID:
		d.builtin = "a domain may always connect to itself"
	case dst.Backend && policy.BuiltinToBackend(number):
		d.builtin = builtinText(0)
	}
	d.allow = d.Allow || d.builtin != ""
	d.daemon = src.Backend && !dst.Backend && policy.BuiltinToFrontend(services.PortManager, number)
	return d, nil
}

// builtinText is what is said of a built-in permission: 0 to the backend, 1 from it.
func builtinText(i int) string { return policy.Builtin()[i] }

// String says what was decided, and by what.
func (d verdict) String() string {
	switch {
	case d.builtin != "":
		return "allowed without a rule: " + d.builtin
	case d.Allow:
		return fmt.Sprintf("allowed by %s: %s", place(d.Rule), oneBlank(d.Rule.Text))
	case d.Cut:
		return fmt.Sprintf("denied although %s allows it: the pair has more than %d ranges of ports", place(d.Rule), policy.MaxRanges)
	case d.Rule != nil:
		return fmt.Sprintf("denied by %s: %s", place(d.Rule), oneBlank(d.Rule.Text))
	}
	return fmt.Sprintf("denied: no rule is about %s to port %s of %s", domainName(d.src), services.FormatPort(d.port), domainName(d.dst))
}

// verdictJSON is a verdict as `-o json` prints it. The shape only ever grows.
type verdictJSON struct {
	Allow       bool      `json:"allow"`
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Port        uint32    `json:"port"`
	Rule        *ruleJSON `json:"rule"`      // that decides; null: none does
	Builtin     string    `json:"builtin"`   // what allows it without a rule
	Daemon      bool      `json:"daemon"`    // the backend's daemon may, for root
	Reachable   bool      `json:"reachable"` // rules allow some port there
}

// json is d for `-o json`.
func (d verdict) json() verdictJSON {
	return verdictJSON{
		Allow: d.allow, Source: domainName(d.src), Destination: domainName(d.dst), Port: d.port,
		Rule: jsonRule(d.Rule), Builtin: d.builtin, Daemon: d.daemon, Reachable: d.Reachable,
	}
}

// policyCheckCommand is `xvsock policy check`.
func (a *app) policyCheckCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use: "check SRC DST PORT", Short: "Say whether a domain may connect to a port of another", Args: questionArgs,
		Long: "check exits with 0 if programs in the domain SRC may connect to PORT, a number or the\n" +
			"name of a well-known one, of the domain DST, with 126 if they may not or if SRC or DST\n" +
			"names two domains, and with 1 for an unknown domain or a bad set of rules.\n\n" + policyHelp,
		Example: "  xvsock policy check web-1 db1 echo\n" +
			"  xvsock policy check web-1 db1 7000 --policy ./policy --domains domains.toml",
	}
	output := outputFlag(c)
	f.add(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		d, err := a.answer(c.Context(), f, args)
		if err != nil {
			return err
		}
		switch {
		case *output == outputJSON:
			err = printJSON(c.OutOrStdout(), d.json())
		case d.allow:
			_, err = fmt.Fprintln(c.OutOrStdout(), printable(d.String()))
		}
		if err == nil && !d.allow {
			err = &deniedError{d.String()}
		}
		return err
	}
	return c
}
