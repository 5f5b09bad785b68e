package image_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"xvsock/image"
)

func TestXLConfig(t *testing.T) {
	got, err := image.XLConfig(image.DomainConfig{
		Name: "web-1", Type: image.PV, Kernel: "/boot/vmlinuz", Ramdisk: `/srv/"a"\b.cpio.gz`,
		Cmdline: "xvsock.name=web xvsock.log=debug", MemoryMB: 96, VCPUs: 2, OnCrash: "preserve",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `name = "web-1"
type = "pv"
kernel = "/boot/vmlinuz"
ramdisk = "/srv/\"a\"\\b.cpio.gz"
cmdline = "console=hvc0 xvsock.name=web xvsock.log=debug"
memory = 96
vcpus = 2
max_event_channels = 4095
max_grant_version = 1
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "preserve"
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("XLConfig (-want +got):\n%s", diff)
	}
}

func TestXLConfigDefaults(t *testing.T) {
	got, err := image.XLConfig(image.DomainConfig{Name: "a", Kernel: "/k", Ramdisk: "/r", Cmdline: "console=ttyS0 quiet"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`type = "pvh"`, "memory = 128", "vcpus = 1", `cmdline = "console=ttyS0 quiet"`} {
		if !strings.Contains(string(got), line+"\n") {
			t.Errorf("no line %q in:\n%s", line, got)
		}
	}
}

func TestXLConfigRefuses(t *testing.T) {
	good := image.DomainConfig{Name: "a", Kernel: "/k", Ramdisk: "/r"}
	// console=hvc0 and a blank are 13 bytes.
	fill := func(n int) string { return strings.Repeat("x", n-13) }
	for name, test := range map[string]struct {
		change func(c *image.DomainConfig)
		words  []string // none: it is accepted
	}{
		"no name":                        {func(c *image.DomainConfig) { c.Name = "" }, []string{"name"}},
		"a name with a blank":            {func(c *image.DomainConfig) { c.Name = "a b" }, []string{"a b"}},
		"a name that is a path":          {func(c *image.DomainConfig) { c.Name = "../a" }, []string{"../a"}},
		"a name that starts as a flag":   {func(c *image.DomainConfig) { c.Name = "-a" }, []string{"-a"}},
		"a name that is a number":        {func(c *image.DomainConfig) { c.Name = "17" }, []string{"17", "domain id"}},
		"a name with a number":           {func(c *image.DomainConfig) { c.Name = "17a" }, nil},
		"a name that is too long":        {func(c *image.DomainConfig) { c.Name = strings.Repeat("a", 129) }, []string{"129"}},
		"no kernel":                      {func(c *image.DomainConfig) { c.Kernel = "" }, []string{"kernel"}},
		"no ramdisk":                     {func(c *image.DomainConfig) { c.Ramdisk = "" }, []string{"ramdisk"}},
		"a line end in a path":           {func(c *image.DomainConfig) { c.Kernel = "/k\nvcpus=9" }, []string{"kernel"}},
		"HVM":                            {func(c *image.DomainConfig) { c.Type = "hvm" }, []string{"hvm", "pvh"}},
		"a PV command line of 1023":      {func(c *image.DomainConfig) { c.Type, c.Cmdline = image.PV, fill(1023) }, nil},
		"a PV command line of 1024":      {func(c *image.DomainConfig) { c.Type, c.Cmdline = image.PV, fill(1024) }, []string{"1024", "1023"}},
		"a PVH command line of 2047":     {func(c *image.DomainConfig) { c.Cmdline = fill(2047) }, nil},
		"a PVH command line of 2048":     {func(c *image.DomainConfig) { c.Cmdline = fill(2048) }, []string{"2048", "2047"}},
		"negative memory":                {func(c *image.DomainConfig) { c.MemoryMB = -1 }, []string{"memory"}},
		"too many CPUs":                  {func(c *image.DomainConfig) { c.VCPUs = 513 }, []string{"vcpus"}},
		"more event channels than exist": {func(c *image.DomainConfig) { c.MaxEventChannels = 1 << 17 }, []string{"max_event_channels"}},
		"an action that is none":         {func(c *image.DomainConfig) { c.OnCrash = "panic" }, []string{"on_crash", "panic"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			test.change(&c)
			_, err := image.XLConfig(c)
			if test.words == nil {
				if err != nil {
					t.Errorf("XLConfig = %v", err)
				}
				return
			}
			if !errors.Is(err, image.ErrConfig) {
				t.Errorf("XLConfig = %v, want ErrConfig", err)
			}
			oneClearLine(t, err, test.words...)
		})
	}
}
