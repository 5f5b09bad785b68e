package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"xvsock/services/logs"
)

// logCommand is `xvsock log`.
func (a *app) logCommand() *cobra.Command {
	var follow bool
	var last int64
	c := &cobra.Command{
		Use: "log [DOMAIN]", Short: "Print the log of a domain", Args: cobra.MaximumNArgs(1),
		Long: "log prints what DOMAIN, or this domain, keeps of its log: the last thousand lines or so,\n" +
			"what its programs wrote among them. Each line begins with the seconds since its start.",
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on and print what comes")
	c.Flags().Int64VarP(&last, "lines", "n", 0, "the last so many lines only")
	c.RunE = func(c *cobra.Command, args []string) error {
		if last < 0 {
			return &setupError{fmt.Errorf("--lines %d: use a number from 1 up", last)}
		}
		domain := "self"
		if len(args) == 1 {
			domain = args[0]
		}
		in := logs.Request{Follow: follow}
		if last > 0 {
			from := -last
			in.From = &from
		}
		return a.withLog(domain, func(l *logs.Client) error {
			for batch, err := range l.Read(c.Context(), in) {
				if err == nil {
					err = printLog(c.OutOrStdout(), batch)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c
}

// printLog prints a part of a log.
func printLog(w io.Writer, b logs.Batch) error {
	if b.Lost > 0 {
		fmt.Fprintf(w, "(%d lines are lost)\n", b.Lost)
	}
	for _, l := range b.Lines {
		if _, err := fmt.Fprintf(w, "%9.3f %-5s %s\n", l.T, l.Level, printable(l.Text)); err != nil {
			return err
		}
	}
	return nil
}
