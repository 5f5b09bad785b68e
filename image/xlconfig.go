package image

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// DomainType says how a domain runs. A service domain needs no devices, so
// there is no HVM.
type DomainType string

// The types of domain.
const (
	PV  DomainType = "pv"
	PVH DomainType = "pvh"
)

const (
	// DefaultMemoryMB is enough for PID 1, its services and a distribution's
	// kernel; such a kernel does not load in 64 MiB.
	DefaultMemoryMB = 128
	// DefaultMaxEventChannels lets a domain have some two thousand links;
	// xl's own default of 1023 would be the first limit it meets.
	DefaultMaxEventChannels = 4095

	// maxPVCmdline is what libxenguest passes on of a PV guest's command
	// line: the rest it cuts silently (MAX_GUEST_CMDLINE, strncpy in
	// xg_dom_x86.c).
	maxPVCmdline = 1023
	// maxCmdline is what Linux reads on x86 (COMMAND_LINE_SIZE 2048).
	maxCmdline = 2047
	// maxDomainName is a bound that keeps a name fit for file names and
	// xenstore paths, both of which libxl and xenconsoled make of it.
	maxDomainName = 128
)

// ErrConfig says that a domain cannot be configured so.
var ErrConfig = errors.New("bad domain configuration")

// DomainConfig is what XLConfig makes a configuration of. Paths are those of
// the toolstack's domain.
type DomainConfig struct {
	// Name is the domain's name, unique on its host.
	Name string
	// Type is PV or PVH; empty means PVH.
	Type DomainType
	// Kernel and Ramdisk are what it boots. Both must be named.
	Kernel, Ramdisk string
	// MemoryMB is its memory in MiB; 0 means DefaultMemoryMB.
	MemoryMB int
	// VCPUs is the number of its virtual CPUs; 0 means 1.
	VCPUs int
	// Cmdline is the kernel's command line. XLConfig puts console=hvc0 before
	// it if it names no console.
	Cmdline string
	// MaxEventChannels is the highest port it may have; 0 means
	// DefaultMaxEventChannels.
	MaxEventChannels int
	// OnPoweroff, OnReboot and OnCrash are what xl does then: "destroy",
	// "restart", "rename-restart", "preserve", "coredump-destroy",
	// "coredump-restart", "soft-reset". Empty means destroy, restart, destroy.
	OnPoweroff, OnReboot, OnCrash string
}

// XLConfig gives the xl configuration of a service domain (xl.cfg(5)).
//
// Grant tables are held at version 1: version 2 adds sub-page and transitive
// grants, which xvsock does not use, and a good part of what went wrong in
// Xen's grant code. Xen 4.17 is the first whose xl knows that key; older ones
// pass over it.
func XLConfig(c DomainConfig) ([]byte, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, line := range []struct{ key, value string }{
		{"name", quote(c.Name)},
		{"type", quote(string(c.Type))},
		{"kernel", quote(c.Kernel)},
		{"ramdisk", quote(c.Ramdisk)},
		{"cmdline", quote(c.Cmdline)},
		{"memory", strconv.Itoa(c.MemoryMB)},
		{"vcpus", strconv.Itoa(c.VCPUs)},
		{"max_event_channels", strconv.Itoa(c.MaxEventChannels)},
		{"max_grant_version", "1"},
		{"on_poweroff", quote(c.OnPoweroff)},
		{"on_reboot", quote(c.OnReboot)},
		{"on_crash", quote(c.OnCrash)},
	} {
		fmt.Fprintf(&b, "%s = %s\n", line.key, line.value)
	}
	return []byte(b.String()), nil
}

func (c DomainConfig) withDefaults() DomainConfig {
	for _, text := range []struct {
		at    *string
		value string
	}{
		{(*string)(&c.Type), string(PVH)},
		{&c.OnPoweroff, "destroy"}, {&c.OnReboot, "restart"}, {&c.OnCrash, "destroy"},
	} {
		if *text.at == "" {
			*text.at = text.value
		}
	}
	for _, number := range []struct {
		at    *int
		value int
	}{
		{&c.MemoryMB, DefaultMemoryMB}, {&c.VCPUs, 1}, {&c.MaxEventChannels, DefaultMaxEventChannels},
	} {
		if *number.at == 0 {
			*number.at = number.value
		}
	}
	if !namesConsole(c.Cmdline) {
		c.Cmdline = strings.TrimSpace("console=hvc0 " + c.Cmdline)
	}
	return c
}

func namesConsole(cmdline string) bool {
	for word := range strings.FieldsSeq(cmdline) {
		if strings.HasPrefix(word, "console=") {
			return true
		}
	}
	return false
}

func (c DomainConfig) check() error {
	if err := checkDomainName(c.Name); err != nil {
		return err
	}
	limit := maxCmdline
	switch c.Type {
	case PV:
		limit = maxPVCmdline
	case PVH:
	default:
		return fmt.Errorf("%w: type %q: use pv or pvh", ErrConfig, c.Type)
	}
	if len(c.Cmdline) > limit {
		return fmt.Errorf("%w: the command line has %d bytes, and a %s guest gets only %d; "+
			"name fewer keys", ErrConfig, len(c.Cmdline), c.Type, limit)
	}
	for _, text := range []struct{ key, value string }{
		{"kernel", c.Kernel}, {"ramdisk", c.Ramdisk}, {"cmdline", c.Cmdline},
	} {
		if text.value == "" {
			return fmt.Errorf("%w: no %s given", ErrConfig, text.key)
		}
		if at := strings.IndexFunc(text.value, isControl); at >= 0 {
			return fmt.Errorf("%w: %s has the control character %q", ErrConfig, text.key, text.value[at])
		}
	}
	return c.checkNumbersAndEvents()
}

func (c DomainConfig) checkNumbersAndEvents() error {
	for _, number := range []struct {
		key             string
		value, from, to int
	}{
		{"memory", c.MemoryMB, 16, 1 << 24},
		{"vcpus", c.VCPUs, 1, 512},
		{"max_event_channels", c.MaxEventChannels, 16, 1<<17 - 1}, // the FIFO ABI's most
	} {
		if number.value < number.from || number.value > number.to {
			return fmt.Errorf("%w: %s = %d: use %d to %d", ErrConfig, number.key, number.value, number.from, number.to)
		}
	}
	for _, event := range []struct{ key, action string }{
		{"on_poweroff", c.OnPoweroff}, {"on_reboot", c.OnReboot}, {"on_crash", c.OnCrash},
	} {
		switch event.action {
		case "destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart", "soft-reset":
		default:
			return fmt.Errorf("%w: %s = %q: use destroy, restart or preserve", ErrConfig, event.key, event.action)
		}
	}
	return nil
}

// checkDomainName admits what libxl, xenconsoled's log files and a shell all
// take as it stands.
func checkDomainName(name string) error {
	if name == "" || len(name) > maxDomainName {
		return fmt.Errorf("%w: the name has %d characters: use 1 to %d", ErrConfig, len(name), maxDomainName)
	}
	for i, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && (i == 0 || !strings.ContainsRune("-_.+", rune(c))) {
			return fmt.Errorf("%w: name %q: use letters, digits and, not at the start, - _ . +", ErrConfig, name)
		}
	}
	if strings.Trim(name, "0123456789") == "" {
		return fmt.Errorf("%w: name %q: xl would take it for a domain id", ErrConfig, name)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// quote writes s as xl's parser reads a string: in double quotes, with a
// backslash before quotes and backslashes (libxlu_cfg_l.l, libxlu_cfg.c).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
