package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// maxExpectations is the most bytes of a file of expectations.
const maxExpectations = 1 << 20

// policyTestCommand is `xvsock policy test`.
func (a *app) policyTestCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use: "test FILE", Short: "Compare the rules with a table of expectations", Args: cobra.ExactArgs(1),
		Long: "test reads one expectation a line, prints those that do not hold, and exits with 1 if\n" +
			"there are any:\n" +
			"\n" +
			"  # action  source    destination  port\n" +
			"  allow     web-1     db1          7000\n" +
			"  deny      client    @backend     control\n" +
			"\n" + policyHelp,
		Example: "  xvsock policy test expectations.test --policy ./policy --domains domains.toml",
	}
	f.add(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		v, err := a.view(c.Context(), f)
		if err != nil {
			return err
		}
		text, err := readExpectations(args[0])
		if err != nil {
			return err
		}
		asked, failed := v.expectAll(text, func(line int, wrong string) {
			fmt.Fprintf(c.OutOrStdout(), "%s:%d: %s\n", printable(args[0]), line, printable(wrong))
		})
		if failed > 0 {
			return fmt.Errorf("%d of %d expectations do not hold", failed, asked)
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d expectations hold\n", asked)
		return err
	}
	return c
}

// readExpectations reads a file of expectations.
func readExpectations(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxExpectations+1))
	if err == nil && len(text) > maxExpectations {
		err = fmt.Errorf("%s: more than %d bytes", name, maxExpectations)
	}
	return string(text), err
}

// expectAll tells of each line that does not hold, and counts.
func (v *policyView) expectAll(text string, tell func(line int, wrong string)) (asked, failed int) {
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		asked++
		if wrong := v.expect(fields); wrong != "" {
			failed++
			tell(number, wrong)
		}
	}
	return asked, failed
}

// expect returns what is wrong about a line; "": it holds. A line that cannot be
// asked does not hold.
func (v *policyView) expect(fields []string) string {
	if len(fields) != 4 || fields[0] != "allow" && fields[0] != "deny" {
		return "not of the form: allow|deny SRC DST PORT"
	}
	d, err := v.judge(fields[1], fields[2], fields[3])
	if err != nil {
		return err.Error()
	}
	if d.allow == (fields[0] == "allow") {
		return ""
	}
	return fmt.Sprintf("%s: %v", strings.Join(fields, " "), d)
}
