package cli

import "github.com/spf13/cobra"

// Command returns the tree of commands that Run executes, for a program that makes
// manual pages and completions of it. A command of it that is executed finds no
// platform.
func Command(version string) *cobra.Command {
	a := &app{version: version}
	return a.rootCommand()
}
