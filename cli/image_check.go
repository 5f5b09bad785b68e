package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/image"
)

// imageCheckCommand is `xvsock image check`.
func (a *app) imageCheckCommand() *cobra.Command {
	var o image.CheckOptions
	c := &cobra.Command{
		Use: "check FILE", Short: "Say what an initramfs lacks for a kernel", Args: cobra.ExactArgs(1),
		Long: "check reads an initramfs as the kernel does (newc archives, plain or compressed with\n" +
			"gzip, xz or zstd) and says in one line each what it lacks to be a service\n" +
			"domain's: PID 1 and its other names, the Xen drivers for exactly that kernel with\n" +
			"all they need, unless the kernel has them built in, and what /etc/xvsock.toml\n" +
			"names. It says also what it could not find out. The exit code is 0 only if nothing\n" +
			"is missing or wrong.\n\n" +
			"What a kernel has built in is known from modules.builtin, in the image or beside\n" +
			"the modules, and from its configuration: config-VERSION beside the kernel, if\n" +
			"none is named. Where neither is there, a driver that is not in the image counts as\n" +
			"missing.",
		Example: "  xvsock image check kv.cpio.gz --kernel /boot/vmlinuz-6.1.0-56-cloud-amd64 \\\n" +
			"      --modules /lib/modules/6.1.0-56-cloud-amd64",
		RunE: func(c *cobra.Command, args []string) error {
			o.File, o.Settings = args[0], a.table()
			format, _ := c.Flags().GetString("format")
			r, err := image.Check(o)
			if err != nil {
				return err
			}
			if err := printCheck(c.OutOrStdout(), format, r); err != nil {
				return err
			}
			if n := r.Lacks(); n > 0 {
				return fmt.Errorf("%s is not in order: %s", o.File, count(n, "thing is", "things are")+" missing or wrong")
			}
			return nil
		},
	}
	formatFlag(c)
	f := c.Flags()
	f.StringVar(&o.Kernel, "kernel", "", "the kernel that the domain will boot")
	f.StringVar(&o.ModulesDir, "modules", "", "lib/modules/VERSION of that kernel, for what it has built in")
	f.StringVar(&o.KernelConfig, "kernel-config", "", "`file` that it was configured with: config-VERSION, .config or config.gz")
	return c
}

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return decimal(n) + " " + many
}

// printCheck prints what was found.
func printCheck(w io.Writer, format string, r image.CheckReport) error {
	if format == outputJSON {
		return printJSON(w, r)
	}
	// The text quotes the image, which may be anybody's.
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%s: %s\n", f.Level, printable(f.String()))
	}
	if r.Lacks() > 0 {
		return nil
	}
	text := r.File + ": nothing is missing"
	if r.Unchecked() > 0 {
		text = r.File + ": in order as far as it could be checked"
	}
	if r.Version != "" {
		text += " for Linux " + r.Version
	}
	if len(r.Modules) > 0 {
		text += ", with " + count(len(r.Modules), "module", "modules")
	}
	if len(r.Builtin) > 0 {
		text += "; built in: " + strings.Join(r.Builtin, ", ")
	}
	_, err := fmt.Fprintln(w, printable(text))
	return err
}
