// Command demo shows xvsock on real Xen: it boots Xen in QEMU with the backend in
// dom0, creates two service domains and a client's with xl, and asks them who they
// are and for an echo, the client directly, as far as policy allows it. It is `make
// run-xen`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"xvsock/image"
	"xvsock/image/rig"
)

// patience bounds each thing that is waited for: all is emulated.
const patience = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "run-xen:", err)
		os.Exit(1)
	}
}

// run is the whole show.
func run(ctx context.Context) error {
	if missing := rig.Missing(); len(missing) > 0 {
		return fmt.Errorf("real Xen in QEMU needs: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	dir, err := os.MkdirTemp("", "xvsock-run-xen-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{dir: dir}
	if err := d.boot(ctx); err != nil {
		return err
	}
	defer d.host.Close()
	if err := d.show(ctx); err != nil {
		return fmt.Errorf("%w\nlast lines of the host's console:\n%s", err, d.host.Console.Tail(20))
	}
	return nil
}

// demo is the host and what is needed to make domains on it.
type demo struct {
	dir     string
	host    *rig.Host
	binary  string
	ramdisk string
}

// say prints one step.
func (d *demo) say(what, format string, args ...any) {
	fmt.Printf("%-10s %s\n", what, fmt.Sprintf(format, args...))
}

// boot builds everything and boots the host.
func (d *demo) boot(ctx context.Context) error {
	d.say("parts", "Xen, kernels and tools from Debian's packages (the first time: some 110 MiB)")
	parts, err := rig.Fetch(ctx)
	if err != nil {
		return err
	}
	d.binary = filepath.Join(d.dir, "xvsock")
	if err := rig.BuildProgram(ctx, "xvsock", d.binary); err != nil {
		return err
	}
	d.ramdisk = filepath.Join(d.dir, "service.cpio.gz")
	r, err := image.Build(image.Options{
		Output: d.ramdisk, Program: d.binary, Kernel: parts.Guest.Image, ModulesDir: parts.Guest.Modules,
	})
	if err != nil {
		return err
	}
	d.say("image", "service domain: Linux %s and one initramfs of %.1f MiB", r.Version, float64(r.Size)/(1<<20))
	d.host, err = rig.Start(ctx, rig.Config{
		Files: map[string]string{"/usr/bin/xvsock": d.binary}, LogDir: filepath.Join(d.dir, "logs"),
	})
	if err != nil {
		return err
	}
	d.say("boot", "%v", d.host.Timing)
	return nil
}

// show makes the domains and has them talk.
func (d *demo) show(ctx context.Context) error {
	if err := d.allow(ctx, dom0Rules); err != nil {
		return err
	}
	if _, err := d.host.Start(ctx, "xvsock backend"); err != nil {
		return err
	}
	d.say("backend", "xvsock backend runs in dom0; what no rule allows is denied")
	if err := d.create(ctx, rig.Guest{Name: "web", Type: image.PV}); err != nil {
		return err
	}
	again := func(format string, args ...any) { d.say("again", format, args...) }
	err := d.host.OutliveEmulator(ctx, "db", again, func(ctx context.Context) error {
		if err := d.create(ctx, rig.Guest{Name: "db", Type: image.PVH}); err != nil {
			return err
		}
		return d.ask(ctx)
	})
	if err != nil {
		return err
	}
	fmt.Println()
	if err := d.direct(ctx); err != nil {
		return err
	}
	fmt.Println()
	d.say("done", "two service domains on real Xen answered discovery and echoed 1 MiB each, every byte compared,")
	d.say("", "and a third domain reached one of them directly, for as long as policy allowed it")
	return nil
}

// ask has the domains answer and echo.
func (d *demo) ask(ctx context.Context) error {
	if _, err := d.until(ctx, "xvsock services", func(out string) bool { return strings.Count(out, "echo") == 2 }); err != nil {
		return err
	}
	for _, command := range []string{
		"xvsock peers", "xvsock services", "xvsock services web", "xvsock services db",
		"xvsock ping --bytes 1048576 web", "xvsock ping --bytes 1048576 db",
	} {
		out, err := d.sh(ctx, command)
		if err != nil {
			return err
		}
		fmt.Printf("\ndom0# %s\n%s", command, out)
	}
	return nil
}

// create makes a service domain, as its author would.
func (d *demo) create(ctx context.Context, g rig.Guest) error {
	g.Ramdisk, g.Cmdline = d.ramdisk, "xvsock.service=echo"
	dom, err := d.host.Create(ctx, g)
	if err != nil {
		return err
	}
	out, err := d.sh(ctx, "xvsock attach "+g.Name)
	if err != nil {
		return err
	}
	d.say("xl create", "%s domain %s; %s", strings.ToUpper(string(g.Type)), g.Name, strings.TrimSpace(out))
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	line, err := dom.Expect(wait, "xvsock: ready in")
	if err != nil {
		return err
	}
	d.say(g.Name, "%s", line)
	return nil
}

// sh runs a command in dom0, which must succeed.
func (d *demo) sh(ctx context.Context, command string) (string, error) {
	r, err := d.host.Run(ctx, command)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit status %d: %s", r.Code, strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	return r.Stdout, nil
}

// until runs a command in dom0 until its output satisfies ok.
func (d *demo) until(ctx context.Context, command string, ok func(string) bool) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it takes too long"))
	defer cancel()
	for {
		out, err := d.sh(ctx, command)
		if err == nil && ok(out) {
			return out, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return "", errors.Join(context.Cause(ctx), err)
		}
	}
}
