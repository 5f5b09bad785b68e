package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"xvsock/image"
	"xvsock/xen"
)

// ErrCreate says that xl could not create a guest.
var ErrCreate = errors.New("xl could not create the guest")

// Guest describes a guest to Host.Create. The zero values are good but for
// Name and Ramdisk.
type Guest struct {
	Name string
	// Type is image.PV or image.PVH; empty means PV, the faster one under
	// emulation.
	Type image.DomainType
	// Kernel is a bzImage here; empty means the rig's own for guests.
	Kernel string
	// Ramdisk is an initramfs here.
	Ramdisk string
	// Cmdline is the kernel's command line, after "console=hvc0 quiet panic=1".
	Cmdline string
	// MemoryMB is its memory in MiB, 0 means 128; VCPUs 0 means 1.
	MemoryMB, VCPUs int
	// Paused leaves it paused until Unpause.
	Paused bool
	// OnReboot is what xl does when it reboots, as image.DomainConfig has it; empty
	// means "destroy", so that a scenario does not go on with a guest it does not know.
	OnReboot string
	// Extra is added to the xl configuration, one setting a line.
	Extra string
	// Creator is a shell command that creates the domain from the configuration
	// file $1; empty means xl.
	Creator string
}

// Domain is a guest that was created.
type Domain struct {
	// Name and ID are its name and its domain id.
	Name string
	ID   xen.DomID

	host     *Host
	console  *Transcript
	xenAt    int // how much Xen and dom0's kernel had said before
	commands int // that Sh has run
}

// Create creates a guest and returns as soon as xl does, while it boots.
func (h *Host) Create(ctx context.Context, g Guest) (*Domain, error) {
	config, err := h.guestConfig(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("create guest %s: %w", g.Name, err)
	}
	file := "/etc/xen/" + g.Name + ".cfg"
	if err := os.WriteFile(filepath.Join(h.logs.dir, safeName(g.Name)+".cfg"), config, 0o644); err != nil {
		return nil, fmt.Errorf("create guest %s: %w", g.Name, err)
	}
	if err := h.WriteFile(ctx, file, config, 0o644); err != nil {
		return nil, fmt.Errorf("create guest %s: %w", g.Name, err)
	}
	d := &Domain{Name: g.Name, host: h, console: h.guestConsole(g.Name), xenAt: h.Console.length()}
	d.console.skip()
	creator := "xl create $1"
	if g.Paused {
		creator = "xl create -p $1"
	}
	result, err := h.Run(ctx, "set -- "+file+"; "+cmp.Or(g.Creator, creator))
	if err != nil {
		return nil, fmt.Errorf("create guest %s: %w", g.Name, err)
	}
	if result.Code != 0 {
		return nil, fmt.Errorf("%w %s (exit status %d): %s", ErrCreate, g.Name, result.Code,
			strings.TrimSpace(result.Stderr))
	}
	if d.ID, err = h.DomID(ctx, g.Name); err != nil {
		return nil, fmt.Errorf("create guest %s: %w", g.Name, err)
	}
	return d, nil
}

// guestConfig sends what the guest boots from and gives its xl configuration.
func (h *Host) guestConfig(ctx context.Context, g Guest) ([]byte, error) {
	c := image.DomainConfig{
		Name: g.Name, Type: g.Type, MemoryMB: g.MemoryMB, VCPUs: g.VCPUs,
		Cmdline:  strings.TrimSpace("console=hvc0 quiet panic=1 " + g.Cmdline),
		OnReboot: cmp.Or(g.OnReboot, "destroy"), OnCrash: "destroy",
	}
	if c.Type == "" {
		c.Type = image.PV
	}
	var err error
	if c.Kernel, err = h.sendOnce(ctx, cmp.Or(g.Kernel, h.Parts.Guest.Boot)); err != nil {
		return nil, err
	}
	if c.Ramdisk, err = h.sendOnce(ctx, g.Ramdisk); err != nil {
		return nil, err
	}
	config, err := image.XLConfig(c)
	if err != nil {
		return nil, err
	}
	return append(config, strings.TrimSpace(g.Extra)+"\n"...), nil
}

// DomID gives the id of the running domain with this name.
func (h *Host) DomID(ctx context.Context, name string) (xen.DomID, error) {
	result, err := h.Run(ctx, "xl domid "+name)
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(strings.TrimSpace(result.Stdout), 10, 15)
	if result.Code != 0 || err != nil {
		return 0, fmt.Errorf("no domain is named %s: %s", name, strings.TrimSpace(result.Stderr))
	}
	return xen.DomID(id), nil
}

// Console is what the guests of this name have said, this one and earlier.
func (d *Domain) Console() *Transcript { return d.console }

// Expect waits for a line on the guest's console; see Transcript.Expect. What
// an earlier guest of the same name said does not count.
func (d *Domain) Expect(ctx context.Context, text string) (string, error) {
	line, err := d.console.Expect(ctx, text)
	if err == nil {
		return line, nil
	}
	// A guest that dies before its console works leaves its trace there alone.
	if xen := tail(d.host.Console.String()[d.xenAt:], tailLines); xen != "" {
		err = fmt.Errorf("%w\nXen and dom0's kernel said since its creation:\n%s", err, xen)
	}
	return "", fmt.Errorf("console of guest %s: %w", d.Name, err)
}

// Destroy ends the guest at once, as if its power were cut.
func (d *Domain) Destroy(ctx context.Context) error { return d.xl(ctx, "destroy") }

// Shutdown asks the guest to power off and returns without waiting for it.
func (d *Domain) Shutdown(ctx context.Context) error { return d.xl(ctx, "shutdown") }

// Reboot asks the guest to reboot, which on the rig ends it unless Guest.OnReboot
// says otherwise; see Host.AwaitReboot.
func (d *Domain) Reboot(ctx context.Context) error { return d.xl(ctx, "reboot") }

// Pause stops its virtual CPUs; Unpause lets them go on.
func (d *Domain) Pause(ctx context.Context) error { return d.xl(ctx, "pause") }

// Unpause lets it run.
func (d *Domain) Unpause(ctx context.Context) error { return d.xl(ctx, "unpause") }

func (d *Domain) xl(ctx context.Context, verb string) error {
	result, err := d.host.Run(ctx, fmt.Sprintf("xl %s %d", verb, d.ID))
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("exit status %d: %s", result.Code, strings.TrimSpace(result.Stderr))
	}
	if err != nil {
		return fmt.Errorf("%s guest %s: %w", verb, d.Name, err)
	}
	return nil
}

// AwaitGone waits until Xen knows the guest no more.
func (d *Domain) AwaitGone(ctx context.Context) error {
	_, err := d.host.Run(ctx, fmt.Sprintf("while xl domname %d; do sleep 0.1; done 2>/dev/null >&2", d.ID))
	if err != nil {
		return fmt.Errorf("wait for the end of guest %s: %w", d.Name, err)
	}
	return nil
}
