package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"xvsock/image"
)

// imageCommand is `xvsock image`.
func (a *app) imageCommand() *cobra.Command {
	c := group("image", "Make what a service domain boots from")
	c.AddCommand(a.imageBuildCommand(), a.imageXLCommand())
	return c
}

// imageBuildCommand is `xvsock image build`.
func (a *app) imageBuildCommand() *cobra.Command {
	var o image.Options
	c := &cobra.Command{
		Use: "build", Short: "Write the initramfs of a service domain", Args: noArgs,
		Long: "build writes an initramfs with this program as PID 1 and the kernel modules that it\n" +
			"needs. The same inputs give the same bytes.",
		Example: "  xvsock image build --kernel /boot/vmlinuz-6.1.0-56-cloud-amd64 \\\n" +
			"      --modules /lib/modules/6.1.0-56-cloud-amd64 -o web.cpio.gz",
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := image.Build(o)
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			fmt.Fprintf(w, "%s: %d bytes, %d unpacked, sha256 %s\n", r.Output, r.Size, r.Unpacked, r.SHA256)
			if r.Version != "" {
				fmt.Fprintf(w, "modules for Linux %s:\n", r.Version)
			}
			if o.ModulesDir == "" {
				fmt.Fprintln(w, "no drivers in it: for a kernel that has the Xen drivers built in (else use --modules)")
			}
			for _, m := range r.Modules {
				fmt.Fprintf(w, "  %s\n", m)
			}
			for _, m := range r.Builtin {
				fmt.Fprintf(w, "  %s is built in\n", m)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVarP(&o.Output, "output", "o", "", "file to write")
	f.StringVar(&o.Kernel, "kernel", "", "the kernel that the domain will boot, to check that the modules are its own")
	f.StringVar(&o.ModulesDir, "modules", "", "lib/modules/VERSION of that kernel; none if it has all drivers built in")
	f.StringSliceVar(&o.Modules, "module", nil, "modules to take beside what they need (default: the Xen drivers)")
	f.StringVar(&o.Program, "program", "", "static program to be PID 1 (default: this one)")
	c.MarkFlagRequired("output")
	return c
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
