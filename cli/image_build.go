package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/image"
)

// imageBuildCommand is `xvsock image build`.
func (a *app) imageBuildCommand() *cobra.Command {
	var o image.Options
	var add []string
	c := &cobra.Command{
		Use: "build", Short: "Write the initramfs of a service domain", Args: noArgs,
		Long: "build writes an initramfs with this program as PID 1, the kernel modules that it\n" +
			"needs, and what a service needs besides: programs and files (--add), settings\n" +
			"(--config, --set) and further modules (--module). It prints what went in; sizes\n" +
			"are in bytes, as the files lie in the domain's memory. The same inputs give the\n" +
			"same bytes.\n\n" +
			"--add SRC[:DST] takes a file or a whole directory. DST is its absolute path in\n" +
			"the image, / and the name of SRC if it is not given; a file goes into a DST that\n" +
			"ends with a slash, the content of a directory goes below DST. All becomes\n" +
			"root's, and nobody else may write; who may read and execute a file stays. Links\n" +
			"stay links, and must not lead out of the directory or the image.\n\n" +
			"Settings are checked as the domain will check them, and the programs that they\n" +
			"name must be in the image. With --set the file is written anew: a key that may\n" +
			"repeat gets one value more, another one is replaced.",
		Example: "  xvsock image build --kernel /boot/vmlinuz-6.1.0-56-cloud-amd64 \\\n" +
			"      --modules /lib/modules/6.1.0-56-cloud-amd64 \\\n" +
			"      --add kv --add data:/data --set service=kv:7000:exec-once:/kv -o kv.cpio.gz",
		RunE: func(c *cobra.Command, _ []string) error {
			for _, text := range add {
				e, err := image.ParseEntry(text)
				if err != nil {
					return &setupError{err}
				}
				o.Add = append(o.Add, e)
			}
			o.Settings = a.table()
			format, _ := c.Flags().GetString("format")
			r, err := image.Build(o)
			if err != nil {
				return settingsProblems(c.ErrOrStderr(), err)
			}
			for _, w := range r.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "xvsock: warning:", printable(w.String()))
			}
			return printImage(c.OutOrStdout(), format, r)
		},
	}
	formatFlag(c)
	f := c.Flags()
	f.StringVarP(&o.Output, "output", "o", "", "file to write (so table or json is --format here)")
	f.StringVar(&o.Kernel, "kernel", "", "the kernel that the domain will boot, to check that the modules are its own")
	f.StringVar(&o.ModulesDir, "modules", "", "lib/modules/VERSION of that kernel; none if it has all drivers built in")
	f.StringSliceVar(&o.Modules, "module", nil, "module to take beside the Xen drivers, with what it needs (may repeat)")
	f.StringVar(&o.Program, "program", "", "static program to be PID 1 (default: this one)")
	f.StringArrayVar(&add, "add", nil, "file or directory to put in, as `SRC[:DST]` (may repeat)")
	f.StringVar(&o.ConfigFile, "config", "", "`file` with settings, to be /etc/xvsock.toml")
	f.StringArrayVar(&o.Set, "set", nil, "setting in /etc/xvsock.toml, as `KEY=VALUE` (may repeat)")
	c.MarkFlagRequired("output")
	return c
}

// settingsProblems tells each of several problems with settings in a line of its
// own, and gives the error that is left.
func settingsProblems(w io.Writer, err error) error {
	settings, ok := errors.AsType[*image.SettingsError](err)
	if !ok || len(settings.Problems) < 2 {
		return err
	}
	for _, p := range settings.Problems {
		fmt.Fprintln(w, "xvsock:", printable(p.String()))
	}
	return fmt.Errorf("build image: %d problems with the settings", len(settings.Problems))
}

// printImage prints what an image holds.
func printImage(w io.Writer, format string, r image.Report) error {
	if format == outputJSON {
		return printJSON(w, r)
	}
	var sum int64
	for _, item := range r.Items {
		sum += item.Size
	}
	var rows [][]string
	for _, item := range r.Items {
		path := item.Path
		if item.Target != "" {
			path += " -> " + item.Target
		}
		rows = append(rows, []string{string(item.Kind), path, decimal(item.Size), share(item.Size, sum)})
	}
	rows = append(rows,
		[]string{"directories", decimal(r.Directories), "", ""},
		[]string{"sum", "", decimal(sum), share(sum, sum)})
	if err := printList(w, format, nil, []string{"KIND", "PATH", "SIZE", "SHARE"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %d bytes, %d unpacked, sha256 %s\n", printable(r.Output), r.Size, r.Unpacked, r.SHA256)
	switch {
	case r.Version == "":
		fmt.Fprintln(w, "no drivers in it: for a kernel that has the Xen drivers built in (else use --modules)")
	case len(r.Builtin) > 0:
		fmt.Fprintf(w, "for Linux %s, which has built in: %s\n", printable(r.Version), strings.Join(r.Builtin, ", "))
	default:
		fmt.Fprintf(w, "for Linux %s\n", printable(r.Version))
	}
	return nil
}

// share is what part of all n bytes are.
func share(n, all int64) string {
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(all))
}
