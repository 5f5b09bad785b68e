// Package cli is the command line: the subcommands of xvsock, their help, their
// tables and their exit codes.
//
// Commands that start a daemon (backend, domain, sim) run it in this process;
// commands that ask something go to the daemon of the domain by its control
// socket; attach, detach and image need no daemon.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/bridge"
	"xvsock/bridge/afvsock"
	"xvsock/daemon"
	"xvsock/link"
	"xvsock/vsock"
	"xvsock/xenstore"
)

// Platform is the real platform as the commands need it. Each function is called
// at most once a command, and not by commands that need nothing of it.
type Platform struct {
	// Store opens xenstore. Where there is none the error wraps
	// fs.ErrNotExist.
	Store func() (*xenstore.Client, error)
	// Devices opens the other devices of the domain that the process runs in, whose
	// store is open, puts them into it, and returns what closes them.
	Devices func(context.Context, *link.Domain, *slog.Logger) (func() error, error)
	// AFVsock makes an instance of the kernel's AF_VSOCK; nil: there is no kernel.
	AFVsock afvsock.Opener
	// Services are those of this build, beside those that every build has.
	Services []daemon.Offer
}

// app is what all commands share.
type app struct {
	platform Platform
	version  string
	offers   []daemon.Offer // services that this binary can be told to run
	control  string         // path of the control socket
	began    bool           // a command has begun; errors before that are of its usage
}

// door is where the daemon whose control socket that is listens for programs: beside it,
// or in a directory of its own, so that each daemon of a domain has one.
func (a *app) door() string {
	dir, name := filepath.Split(a.control)
	if name != filepath.Base(bridge.ControlPath) {
		dir = a.control + ".d"
	}
	return filepath.Join(dir, filepath.Base(vsock.DoorPath))
}

// Run executes the command line args and returns the process's exit code. It
// ends when ctx does.
func Run(ctx context.Context, p Platform, version string, args []string, stdout, stderr io.Writer) int {
	a := &app{platform: p, version: version, offers: append(daemon.Builtin(), p.Services...)}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !a.began {
		err = &setupError{fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath())}
	}
	fmt.Fprintln(stderr, "xvsock:", explain(err))
	return exitCode(err)
}

// rootCommand returns the whole tree of commands.
func (a *app) rootCommand() *cobra.Command {
	root := group("xvsock", "Virtual sockets between Xen domains")
	root.Long = "xvsock joins Xen domains by virtual sockets: addresses of a domain and a port,\n" +
		"direct links of granted pages and event channels, nothing to patch."
	root.SilenceUsage, root.SilenceErrors = true, true
	// Its text is cobra's: a template of our own would bring text/template in, for whose
	// sake the linker keeps every method of every type, a fifth of the binary.
	root.Version = a.version
	root.PersistentFlags().StringVar(&a.control, "control", bridge.ControlPath, "control socket of this domain's daemon")
	root.AddCommand(
		a.backendCommand(), a.domainCommand(), a.simCommand(),
		a.attachCommand(), a.detachCommand(), a.policyCommand(),
		a.statusCommand(), a.peersCommand(), a.servicesCommand(), a.resolveCommand(), a.pingCommand(), a.benchCommand(),
		a.connectCommand(), a.listenCommand(), a.proxyCommand(),
		a.healthCommand(), a.logCommand(), a.metricsCommand(), a.configCommand(),
		a.restartCommand(), a.logLevelCommand(), a.shutdownCommand(),
		a.imageCommand(), a.versionCommand(),
	)
	a.noteBegin(root)
	a.completeAll(root)
	return root
}

// noteBegin makes every command say that it has begun.
func (a *app) noteBegin(c *cobra.Command) {
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		a.began = true
		return run(c, args)
	}
	for _, sub := range c.Commands() {
		a.noteBegin(sub)
	}
}

// group returns a command that only has others below it. Alone it prints its help.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		SuggestionsMinimumDistance: 2,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				hint = ", did you mean " + strings.Join(near, " or ") + "?"
			}
			return fmt.Errorf("no command %.40q%s", args[0], hint)
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
}

// noArgs refuses arguments.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no argument such as %.40q", c.Name(), args[0])
	}
	return nil
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

// versionCommand is `xvsock version`.
func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "xvsock version", a.version)
			return err
		},
	}
}
