package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// completeTime bounds how long a shell waits for names after the tab key.
const completeTime = time.Second

// completeAll tells the shell's completion what may stand where, in all commands
// below c: an argument is completed by what the usage line calls it, a flag by its
// name.
func (a *app) completeAll(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.completeAll(sub)
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch words := strings.Fields(c.Use)[1:]; {
		case len(args) >= len(words):
			return nil, cobra.ShellCompDirectiveNoFileComp
		default:
			return a.completeArgument(c, strings.Trim(words[len(args)], "[].|"))
		}
	}
	for flag, values := range map[string]func(*cobra.Command) []string{
		"log":     fixed(logLevels()...),
		"service": fixed(strings.Split(builtinNames(), ", ")...),
		"domain":  a.domainNames,
		"backend": a.domainNames,
	} {
		completeFlag(c, flag, values)
	}
	if f := c.Flags().Lookup("output"); f != nil && f.DefValue == outputTable {
		completeFlag(c, "output", fixed(outputTable, outputJSON))
	}
}

// completeArgument completes an argument that the usage line calls name.
func (a *app) completeArgument(c *cobra.Command, name string) ([]string, cobra.ShellCompDirective) {
	switch name {
	case "DOMAIN", "SRC", "DST":
		return a.domainNames(c), cobra.ShellCompDirectiveNoFileComp
	case "LEVEL":
		return logLevels(), cobra.ShellCompDirectiveNoFileComp
	case "NAME:PORT":
		return a.targets(c, ""), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	case "LOCAL":
		return localKinds(), cobra.ShellCompDirectiveNoSpace
	case "REMOTE":
		return append(remoteKinds(), a.targets(c, "xvsock:")...), cobra.ShellCompDirectiveNoSpace
	case "FILE", "flags", "--", "CMD", "ARG":
		return nil, cobra.ShellCompDirectiveDefault
	case "DIR":
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeFlag completes the values of a flag, where c has it.
func completeFlag(c *cobra.Command, flag string, values func(*cobra.Command) []string) {
	if c.Flags().Lookup(flag) == nil {
		return
	}
	// It fails for a flag that is not there, or is completed already.
	_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return values(c), cobra.ShellCompDirectiveNoFileComp
	})
}

// logLevels are what a daemon's log can be set to.
func logLevels() []string { return []string{"debug", "info", "warn", "error"} }

// fixed are values that are always the same.
func fixed(values ...string) func(*cobra.Command) []string {
	return func(*cobra.Command) []string { return values }
}

// domainNames are the names of domains that can be had at once: those that the
// daemon of this domain knows, and in the toolstack's domain those that run. Where
// there is neither, or no right to ask, there are none: completion says no errors.
func (a *app) domainNames(c *cobra.Command) []string {
	ctx, cancel := context.WithTimeout(c.Context(), completeTime)
	defer cancel()
	var names []string
	var s daemon.Status
	if a.call(ctx, daemon.MethodStatus, nil, &s) == nil {
		for _, l := range s.Links {
			names = append(names, l.Name)
		}
	}
	_ = a.withStore(func(store *xenstore.Client) error {
		all, err := toolstack.List(ctx, store)
		for _, d := range all {
			names = append(names, d.Name)
		}
		return err
	})
	names = slices.DeleteFunc(names, func(name string) bool { return !plainWord(name) })
	slices.Sort(names)
	return slices.Compact(names)
}

// targets are what can be connected to, after a prefix: the services that the daemon of
// this domain knows of, and the domains, whose port is to be typed.
func (a *app) targets(c *cobra.Command, prefix string) []string {
	ctx, cancel := context.WithTimeout(c.Context(), completeTime)
	defer cancel()
	domains := append(a.domainNames(c), "self", "@backend")
	var words []string
	var known daemon.ServicesReply
	if a.call(ctx, daemon.MethodServices, daemon.ServicesArgs{}, &known) == nil {
		for _, s := range known.Services {
			if plainWord(s.Domain) && services.CheckName(s.Name) == nil {
				words = append(words, prefix+s.Domain+":"+s.Name)
			}
		}
	}
	for _, name := range domains {
		words = append(words, prefix+name+":")
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// localKinds and remoteKinds are how the ends of a proxy begin.
func localKinds() []string  { return []string{"unix:/", "tcp:", "vsock:", "xvsock:"} }
func remoteKinds() []string { return []string{"unix:/", "tcp:", "vsock:"} }

// plainWord says whether name means itself to every shell, and nothing to the
// protocol of completion, in which a tab begins a description and a line ends the
// value. Names are others' text.
func plainWord(name string) bool {
	return name != "" && name[0] != '-' && !strings.ContainsFunc(name, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.+@:", c))
	})
}
