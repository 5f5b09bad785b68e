package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/image"
)

// imageCommand is `xvsock image`.
func (a *app) imageCommand() *cobra.Command {
	c := group("image", "Make what a service domain boots from")
	c.AddCommand(a.imageBuildCommand(), a.imageCheckCommand(), a.imageXLCommand())
	return c
}

// formatFlag adds --format to a command whose -o names a file, or could be taken for
// that.
func formatFlag(c *cobra.Command) *string {
	format := c.Flags().String("format", outputTable, outputTable+" or "+outputJSON)
	c.PreRunE = func(*cobra.Command, []string) error {
		if *format != outputTable && *format != outputJSON {
			return fmt.Errorf("--format %q: use table or json", *format)
		}
		return nil
	}
	return format
}

// imageXLCommand is `xvsock image xlcfg`.
func (a *app) imageXLCommand() *cobra.Command {
	var cfg image.DomainConfig
	var kind string
	c := &cobra.Command{
		Use: "xlcfg", Short: "Print a ready xl configuration for a service domain", Args: noArgs,
		Example: "  xvsock image xlcfg --name web --kernel /boot/vmlinuz --ramdisk web.cpio.gz \\\n" +
			"      --cmdline 'xvsock.service=echo' >web.cfg",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Type = image.DomainType(kind)
			text, err := image.XLConfig(cfg)
			if err != nil {
				return &setupError{err}
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s", text)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Name, "name", "", "name of the domain")
	f.StringVar(&kind, "type", string(image.PVH), "pv or pvh")
	f.StringVar(&cfg.Kernel, "kernel", "", "kernel file, as the toolstack's domain finds it")
	f.StringVar(&cfg.Ramdisk, "ramdisk", "", "initramfs from `xvsock image build`")
	f.IntVar(&cfg.MemoryMB, "memory", image.DefaultMemoryMB, "memory in MiB")
	f.IntVar(&cfg.VCPUs, "vcpus", 1, "virtual processors")
	f.StringVar(&cfg.Cmdline, "cmdline", "", "kernel command line, with the xvsock.* keys")
	for _, name := range []string{"name", "kernel", "ramdisk"} {
		c.MarkFlagRequired(name)
	}
	return c
}
