package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/manager/policy"
	"xvsock/services/varlink"
)

// policyTime bounds how long a backend may take to tell its policy.
const policyTime = 10 * time.Second

// policyCommand is `xvsock policy`.
func (a *app) policyCommand() *cobra.Command {
	c := group("policy", "Ask, check and push the rules of who may connect to whom")
	c.Long = "A policy is a directory of files NN-name.policy, one rule a line; the first rule that\n" +
		"matches decides, and what no rule matches is denied:\n" +
		"\n" +
		"  # service|port  source        destination   action  parameters\n" +
		"  log             *             logger        allow   rate=100\n" +
		"  echo,7000-7010  web-*         db1           allow   conns=64\n" +
		"  *               @tag:admin    *             allow"
	c.AddCommand(
		a.policyCheckCommand(), a.policyExplainCommand(), a.policyLintCommand(),
		a.policyTestCommand(), a.policyPushCommand(), a.policyShowCommand(),
	)
	return c
}

// policyFlags say which rules and domains a question is about.
type policyFlags struct{ dir, domains, backend string }

// add adds the flags to c.
func (f *policyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "policy", "", "directory of policy files to ask, instead of the running backend")
	c.Flags().StringVar(&f.domains, "domains", "", "with --policy: TOML file of the domains, [[domain]] name, uuid, id, tags")
	c.Flags().StringVar(&f.backend, "backend", "", "with --domains: which of them is the backend's (default: domain 0)")
}

// policyHelp ends the help of commands that take a pair of domains.
const policyHelp = "The running backend is asked for its rules and domains; with --policy nothing needs to\n" +
	"run. SRC and DST are names, uuids, ids, @backend or @dom0. With --policy and without\n" +
	"--domains each stands for a domain of just that name or uuid; @backend, @dom0, 0 and\n" +
	"Domain-0 are one then."

// policyView is rules, and the domains that they are asked about.
type policyView struct {
	set     *policy.Set
	skipped []string // misnamed files
	trouble string   // why a running backend does not use its newest set
	domains []policy.Domain
	// from says in errors what the domains are those of; "": any name is one.
	from string
}

// view returns the rules and domains that the flags say.
func (a *app) view(ctx context.Context, f policyFlags) (*policyView, error) {
	switch {
	case f.dir == "" && f.domains != "":
		return nil, &setupError{errors.New("--domains goes with --policy")}
	case f.domains == "" && f.backend != "":
		return nil, &setupError{errors.New("--backend goes with --domains")}
	case f.dir == "":
		return a.runningView(ctx)
	}
	l, err := loadPolicy(f.dir)
	if err != nil {
		return nil, err
	}
	v := &policyView{set: l.Set, skipped: l.Skipped}
	if f.domains != "" {
		err = v.readDomains(f.domains, f.backend)
	}
	return v, err
}

// runningView is what the running backend goes by. It is judged here, by the same
// code and not by asking once for each question.
func (a *app) runningView(ctx context.Context) (*policyView, error) {
	reply, err := a.askPolicy(ctx)
	if err != nil {
		return nil, err
	}
	set, err := parseRules(reply.Rules)
	if err != nil {
		return nil, fmt.Errorf("the backend's rules: %w", err)
	}
	v := &policyView{set: set, trouble: reply.Error, from: "attached to this backend"}
	for _, d := range reply.Domains {
		v.domains = append(v.domains, policyDomain(d))
	}
	markTwins(v.domains)
	return v, nil
}

// askPolicy asks the running backend for its policy.
func (a *app) askPolicy(ctx context.Context) (daemon.PolicyReply, error) {
	var all daemon.PolicyReply
	c, err := bridge.DialControl(a.control)
	if err != nil {
		return all, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, policyTime)
	defer cancel()
	first := true
	for data, err := range c.Stream(ctx, daemon.MethodPolicy, nil) {
		var part daemon.PolicyReply
		if err == nil {
			err = varlink.UnmarshalGrowing(data, &part)
		}
		if errors.Is(err, &varlink.Error{Name: varlink.MethodNotFound}) {
			err = &setupError{errors.New("the daemon of this domain is no backend: ask where the backend runs, or use --policy")}
		}
		if err != nil {
			return all, err
		}
		if first {
			all, first = part, false
			continue
		}
		all.Add(part)
	}
	return all, nil
}

// ruleJSON is a rule as `-o json` prints it. The shape only ever grows.
type ruleJSON struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// jsonRule is r for `-o json`; nil if there is none.
func jsonRule(r *policy.Rule) *ruleJSON {
	if r == nil {
		return nil
	}
	return &ruleJSON{r.File, r.Line, oneBlank(r.Text)}
}

// jsonRules are rules for `-o json`.
func jsonRules(rules []*policy.Rule) []*ruleJSON {
	all := make([]*ruleJSON, 0, len(rules))
	for _, r := range rules {
		all = append(all, jsonRule(r))
	}
	return all
}

// place is where a rule stands.
func place(r *policy.Rule) string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// oneBlank is a rule's text with one blank between its fields.
func oneBlank(text string) string { return strings.Join(strings.Fields(text), " ") }
