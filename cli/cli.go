// Package cli is the command line: the subcommands of xvsock, their help, their
// tables and their exit codes.
//
// Commands that start a daemon (backend, domain, sim) run it in this process;
// commands that ask something go to the daemon of the domain by its control
// socket; attach, detach and image need no daemon.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/link"
	"xvsock/services/varlink"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// Exit codes (design, section 10).
const (
	exitError  = 1   // unknown domain, something that could not be done
	exitSetup  = 125 // no daemon, no Xen, bad usage
	exitDenied = 126 // denied by policy, or an argument that names two domains
)

// Platform is the real platform as the commands need it. Each function is called
// at most once a command, and not by commands that need nothing of it.
type Platform struct {
	// Domain opens the devices of the domain that the process runs in, and
	// returns what closes them.
	Domain func(context.Context) (*link.Domain, func() error, error)
	// Store opens xenstore alone.
	Store func() (*xenstore.Client, error)
}

// app is what all commands share.
type app struct {
	platform Platform
	version  string
	control  string // path of the control socket
	logLevel string
}

// Run executes the command line args and returns the process's exit code. It
// ends when ctx does.
func Run(ctx context.Context, p Platform, version string, args []string, stdout, stderr io.Writer) int {
	root := newRoot(p, version)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "xvsock:", explain(err))
	return exitCode(err)
}

// newRoot returns the root command.
func newRoot(p Platform, version string) *cobra.Command {
	a := &app{platform: p, version: version}
	root := &cobra.Command{
		Use:   "xvsock",
		Short: "Virtual sockets between Xen domains",
		Long: "xvsock joins Xen domains by virtual sockets: addresses of a domain and a port,\n" +
			"direct links of granted pages and event channels, nothing to patch.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Args:          cobra.NoArgs,
	}
	root.PersistentFlags().StringVar(&a.control, "control", bridge.ControlPath, "control socket of this domain's daemon")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &setupError{fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath())}
	})
	root.AddCommand(
		a.backendCommand(), a.domainCommand(), a.simCommand(),
		a.attachCommand(), a.detachCommand(),
		a.statusCommand(), a.peersCommand(), a.servicesCommand(), a.resolveCommand(), a.pingCommand(),
		a.imageCommand(), a.versionCommand(),
	)
	return root
}

// setupError is an error after which nothing was tried.
type setupError struct{ err error }

func (e *setupError) Error() string { return e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// exitCode is the exit code for err.
func exitCode(err error) int {
	var setup *setupError
	switch {
	case errors.Is(err, toolstack.ErrAmbiguous), errors.Is(err, daemon.ErrAmbiguousDomain):
		return exitDenied
	case errors.As(err, &setup), errors.Is(err, bridge.ErrNoDaemon):
		return exitSetup
	}
	return exitError
}

// explain is the one line that an error is told in. What a daemon answered may
// quote another domain, so nothing of it reaches the terminal unescaped.
func explain(err error) string {
	var reply *varlink.Error
	if errors.As(err, &reply) {
		var p struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(reply.Parameters, &p) == nil && p.Message != "" {
			return printable(p.Message)
		}
		return printable(reply.Error())
	}
	return printable(err.Error())
}

// printable returns s with everything escaped that is not a printable character.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	if plain := strings.ReplaceAll(s, `"`, `\"`); quoted[1:len(quoted)-1] == plain {
		return s
	}
	return quoted[1 : len(quoted)-1]
}

// call asks the daemon of this domain.
func (a *app) call(ctx context.Context, method string, in, out any) error {
	c, err := bridge.DialControl(a.control)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, method, in, out)
}

// newLog returns the log of a daemon that runs in a terminal or under a service
// manager.
func (a *app) newLog(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, &setupError{fmt.Errorf("--log %q: use debug, info, warn or error", a.logLevel)}
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}

// outputFlag adds -o to a command that prints a list.
func outputFlag(c *cobra.Command) *string {
	o := c.Flags().StringP("output", "o", "table", "table or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if *o != "table" && *o != "json" {
			return &setupError{fmt.Errorf("-o %q: use table or json", *o)}
		}
		return nil
	}
	return o
}

// print writes rows under head as a table, or v as JSON.
func print(w io.Writer, output string, v any, head []string, rows [][]string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, row := range rows {
		for i := range row {
			if row[i] = printable(row[i]); row[i] == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// versionCommand is `xvsock version`.
func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "xvsock", a.version)
			return err
		},
	}
}

// stderr is where a daemon of this process logs.
func stderr(c *cobra.Command) io.Writer {
	if w := c.ErrOrStderr(); w != nil {
		return w
	}
	return os.Stderr
}
