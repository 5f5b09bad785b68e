package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/image"
)

// imageCommand is `xvsock image`.
func (a *app) imageCommand() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Make what a service domain boots from", Args: cobra.NoArgs}
	c.AddCommand(a.imageXLCommand())
	return c
}

// imageXLCommand is `xvsock image xlcfg`.
func (a *app) imageXLCommand() *cobra.Command {
	var cfg image.DomainConfig
	var kind string
	c := &cobra.Command{
		Use: "xlcfg", Short: "Print a ready xl configuration for a service domain", Args: cobra.NoArgs,
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
