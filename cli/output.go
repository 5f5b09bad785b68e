package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFlag adds -o to a command that prints a list.
func outputFlag(c *cobra.Command) *string {
	o := c.Flags().StringP("output", "o", "table", "table or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if *o != "table" && *o != "json" {
			return fmt.Errorf("-o %q: use table or json", *o)
		}
		return nil
	}
	return o
}

// printList writes rows under head as a table, or v as JSON. What it prints may
// be other domains' text: a table escapes it, and JSON does by itself.
func printList(w io.Writer, output string, v any, head []string, rows [][]string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, text := range row {
			if cells[i] = printable(text); text == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// decimal is a number in a table.
func decimal[T ~uint16 | ~uint32 | ~int | ~int64](n T) string {
	return strconv.FormatInt(int64(n), 10)
}
