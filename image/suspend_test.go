package image_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"xvsock/image"
	"xvsock/image/rig"
)

// resumeTime is how long a restored domain may take until its link is formed again and
// its services are registered.
const resumeTime = 5 * time.Second

// verbose lets a guest's kernel say its warnings.
const verbose = "loglevel=5 "

// suspendPV is what a PV service domain goes through.
func (h *xenHost) suspendPV() { h.must(h.suspends(h.t.Context(), "sleeper-pv", image.PV)) }

// suspendPVH is the same of a PVH one.
func (h *xenHost) suspendPVH() {
	const name = "sleeper-pvh"
	h.must(h.OutliveEmulator(h.t.Context(), name, h.t.Logf, func(ctx context.Context) error {
		return h.suspends(ctx, name, image.PVH)
	}))
}

// suspends saves and restores a service domain twice in the middle of a transfer, then
// checkpoints it, and at last ends it in order.
func (h *xenHost) suspends(ctx context.Context, name string, kind image.DomainType) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	d, err := h.Create(ctx, rig.Guest{Name: name, Type: kind, Ramdisk: h.ramdisk, Cmdline: verbose + "xvsock.service=echo"})
	if err != nil {
		return err
	}
	begin := len(d.Console().String())
	_, err = h.serving(ctx, d, servedTime)
	// The first time it runs before anybody looks for it, the second time it was
	// attached already when it begins to run.
	for _, flags := range []string{"", "-p"} {
		if err == nil {
			var again *rig.Domain
			if again, err = h.saveAndRestore(ctx, d, flags); again != nil {
				d = again
			}
		}
	}
	if err == nil {
		err = h.checkpoint(ctx, d)
	}
	if err == nil {
		_, err = h.command(ctx, "xl shutdown "+name)
	}
	if err == nil {
		_, err = d.Expect(ctx, "stopped (halt)")
	}
	if err == nil {
		// The xl that would remove it, on_poweroff, has taken the checkpoint for its end.
		err = d.Destroy(ctx)
	}
	return errors.Join(err, healthy(d.Console().String()[begin:]))
}

// healthy looks for what a kernel says when it was touched where it must not be. A
// restore leaves no warning: nothing of before is unbound, closed, or given back in a way
// that touches a port.
func healthy(console string) error {
	for line := range strings.Lines(console) {
		for _, bad := range []string{"kernel BUG", "WARNING:", "Oops", "Trying to free already-free IRQ", "Kernel panic", "panic:"} {
			if strings.Contains(line, bad) {
				return fmt.Errorf("the guest's console has: %s", strings.TrimSpace(line))
			}
		}
	}
	return nil
}

// saveAndRestore saves a domain in the middle of a transfer, and restores it.
func (h *xenHost) saveAndRestore(ctx context.Context, d *rig.Domain, flags string) (*rig.Domain, error) {
	file := "/tmp/" + d.Name + ".save"
	transfer, err := h.transferTo(ctx, d)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := d.Save(ctx, file); err != nil {
		return nil, err
	}
	saved := time.Since(begin)
	if r, err := transfer.Wait(ctx); err != nil || r.Code != 1 || !transfer.Output.Contains("connection reset") {
		return nil, fmt.Errorf("the transfer of a saved domain ended with %w, status %d: %s", err, r.Code, transfer.Output)
	}
	reset := time.Since(begin)
	again, err := h.Restore(ctx, d, file, flags)
	if err != nil {
		return nil, err
	}
	if flags == "-p" {
		time.Sleep(time.Second) // it is attached meanwhile
		err = again.Unpause(ctx)
	}
	if err != nil {
		return again, err
	}
	took, err := h.serving(ctx, again, resumeTime)
	if err != nil {
		return again, err
	}
	h.t.Logf("%s: saved in %v, its transfer reset %v after the beginning of that; domain %v restored as %v %s: served %v after it ran",
		d.Name, saved.Round(time.Millisecond), reset.Round(time.Millisecond), d.ID, again.ID, flags, took.Round(time.Millisecond))
	_, err = h.command(ctx, "rm "+file+" && xvsock ping --bytes 1048576 "+d.Name)
	return again, err
}

// transferTo starts a transfer to a domain and waits until it moves.
func (h *xenHost) transferTo(ctx context.Context, d *rig.Domain) (*rig.Process, error) {
	transfer, err := h.Start(ctx, "xvsock ping --bytes 1073741824 "+d.Name)
	if err != nil {
		return nil, err
	}
	for {
		l, err := h.frontLink(ctx, d)
		if err != nil || l.Connections > 1 { // the manager's port 1 is one
			return transfer, err
		}
	}
}

// frontLink is what the backend says of its link to a domain.
func (h *xenHost) frontLink(ctx context.Context, d *rig.Domain) (direct, error) {
	out, err := h.command(ctx, "xvsock peers -o json")
	if err != nil {
		return direct{}, err
	}
	var all []direct
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return direct{}, err
	}
	for _, l := range all {
		if l.Domain == uint16(d.ID) {
			return l, nil
		}
	}
	return direct{}, nil
}

// checkpoint saves a domain that goes on: its connections do not notice.
func (h *xenHost) checkpoint(ctx context.Context, d *rig.Domain) error {
	file := "/tmp/" + d.Name + ".checkpoint"
	links := strings.Count(d.Console().String(), "link is up")
	transfer, err := h.transferTo(ctx, d)
	if err != nil {
		return err
	}
	if err := d.Checkpoint(ctx, file); err != nil {
		return err
	}
	out, err := h.command(ctx, fmt.Sprintf("rm %s && xvsock ping --bytes 1048576 %s && kill -0 %d", file, d.Name, transfer.PID()))
	if err != nil {
		return fmt.Errorf("after a checkpoint: %w; the transfer said: %s", err, transfer.Output)
	}
	if again := strings.Count(d.Console().String(), "link is up"); again != links {
		return fmt.Errorf("after a checkpoint the link was formed %d times, before it %d times", again, links)
	}
	h.t.Logf("%s: checkpointed in the middle of a transfer, which goes on:\n%s", d.Name, out)
	if err := transfer.Kill(); err != nil {
		return err
	}
	_, err = transfer.Wait(ctx)
	return err
}

// suspendClient saves and restores an ordinary domain, in which a daemon serves, and
// has the daemon stop and start again afterwards.
func (h *xenHost) suspendClient() {
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	ramdisk := filepath.Join(h.t.TempDir(), "shell.cpio")
	h.must(rig.WriteShellImage(h.Parts, rig.ShellImage{
		Output: ramdisk, Files: map[string]string{"/usr/bin/xvsock": h.binary},
		Before: "xvsock domain --service echo 2>/tmp/daemon &\necho $! >/tmp/pid",
	}))
	d, err := h.Create(ctx, rig.Guest{Name: "sleeper", Ramdisk: ramdisk, Cmdline: verbose})
	h.must(err)
	begin := len(d.Console().String())
	h.served(d)
	for _, flags := range []string{"", "-p"} {
		d, err = h.saveAndRestore(ctx, d, flags)
		h.must(err)
	}
	// By its id: the process that keeps what the daemon abandoned has the same name, and
	// stays.
	h.in(d, "kill $(cat /tmp/pid); while kill -0 $(cat /tmp/pid); do sleep 0.1; done")
	h.in(d, "xvsock domain --service echo 2>>/tmp/daemon &")
	h.served(d)
	h.t.Log(h.in(d, "tail -20 /tmp/daemon").Stdout)
	h.must(healthy(d.Console().String()[begin:]))
	h.Sh("xl destroy sleeper")
}
