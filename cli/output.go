package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf16"

	"github.com/spf13/cobra"
)

// What -o takes.
const (
	outputTable = "table"
	outputJSON  = "json"
)

// outputFlag adds -o to a command that prints a list.
func outputFlag(c *cobra.Command) *string {
	o := c.Flags().StringP("output", "o", outputTable, outputTable+" or "+outputJSON)
	c.PreRunE = func(*cobra.Command, []string) error {
		if *o != outputTable && *o != outputJSON {
			return fmt.Errorf("-o %q: use table or json", *o)
		}
		return nil
	}
	return o
}

// printList writes rows under head as a table, or v as JSON. What it prints may
// be other domains' text, and is escaped either way.
func printList(w io.Writer, output string, v any, head []string, rows [][]string) error {
	if output == outputJSON {
		return printJSON(w, v)
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

// printJSON writes v as JSON. Beside what JSON itself escapes there are characters
// that steer a terminal: those of C1, and those of the direction of text.
func printJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, c := range string(data) {
		if c == '\n' || strconv.IsGraphic(c) {
			out.WriteRune(c)
			continue
		}
		for _, unit := range utf16.Encode([]rune{c}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	_, err = fmt.Fprintln(w, out.String())
	return err
}

// decimal is a number in a table.
func decimal[T ~uint16 | ~uint32 | ~int | ~int64](n T) string {
	return strconv.FormatInt(int64(n), 10)
}
