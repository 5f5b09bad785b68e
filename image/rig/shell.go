package rig

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"xvsock/image"
)

// ShellImage says what is in the initramfs of a guest whose PID 1 is a shell: an
// ordinary domain in which a test can run programs.
type ShellImage struct {
	// Output is the file to write.
	Output string
	// Files are further files, by their path in the guest, as in Config.Files.
	Files map[string]string
	// Before is run once the Xen drivers are there, in a shell script. The guest
	// then takes commands from its console, see Domain.Sh.
	Before string
}

// shellInit is the guest's PID 1 up to the drivers; shellLoop what it does at last.
// A console that echoes, or that edits line ends, would mix what is sent into what
// is answered.
const (
	shellInit = "#!/bin/sh\n/bin/busybox mkdir -p /proc /sys /dev /tmp /run /etc /bin /sbin /usr/bin\n" +
		"/bin/busybox --install -s /bin\n" +
		"mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\nmount -t xenfs xenfs /proc/xen 2>/dev/null\n" +
		"export PATH=/bin:/usr/bin HOME=/\n"
	shellLoop = "stty -echo -onlcr </dev/hvc0\necho " + shellReady + "\n" +
		"while :; do while IFS= read -r line; do eval \"$line\"; done </dev/hvc0; done >/dev/hvc0 2>&1\n"
	// shellReady is what such a guest says when it takes commands.
	shellReady = "the shell takes commands"
)

// WriteShellImage writes such an initramfs for the rig's guest kernel.
func WriteShellImage(parts *Parts, s ShellImage) error {
	a := image.NewArchive()
	b := builder{parts: parts, archive: a}
	modules, err := image.OpenModules(parts.Guest.Modules)
	if err != nil {
		return fmt.Errorf("shell image: %w", err)
	}
	paths, err := b.modules(modules, xenModules())
	if err != nil {
		return fmt.Errorf("shell image: %w", err)
	}
	if err := b.file("bin/busybox", filepath.Join(parts.Root, "bin/busybox"), 0o755); err != nil {
		return fmt.Errorf("shell image: %w", err)
	}
	if err := b.files(s.Files); err != nil {
		return fmt.Errorf("shell image: %w", err)
	}
	a.Dir("dev", 0o755)
	a.Char("dev/console", 0o600, 5, 1)
	a.Link("bin/sh", "busybox")
	script := shellInit
	for _, module := range paths {
		script += "insmod " + module + "\n"
	}
	a.File("init", []byte(script+s.Before+"\n"+shellLoop), 0o755)
	return writeArchive(a, s.Output)
}

// Sh runs a command of one line in the shell of a guest that was made from a
// ShellImage, and waits for it. Its output, both streams in one, is in Result.Stdout. One command
// runs at a time.
func (d *Domain) Sh(ctx context.Context, command string) (Result, error) {
	d.commands++
	mark := fmt.Sprintf("@%s.%d", d.Name, d.commands)
	if d.commands == 1 {
		if _, err := d.Expect(ctx, shellReady); err != nil {
			return Result{}, err
		}
	}
	line := fmt.Sprintf("echo %s begin; ( %s ) 2>&1; status=$?; echo; echo %s end $status\n", mark, command, mark)
	to := fmt.Sprintf("cat >$(xenstore-read /local/domain/%v/console/tty)", d.ID)
	if r, err := d.host.RunInput(ctx, to, []byte(line)); err != nil || r.Code != 0 {
		return Result{}, fmt.Errorf("send to the console of %s: %w %s", d.Name, err, r.Stderr)
	}
	end, err := d.Expect(ctx, mark+" end")
	if err != nil {
		return Result{}, fmt.Errorf("%s in %s: %w", command, d.Name, err)
	}
	_, status, _ := strings.Cut(end, " end ")
	code, err := strconv.Atoi(strings.TrimSpace(status))
	if err != nil {
		return Result{}, fmt.Errorf("%s in %s: status: %w", command, d.Name, err)
	}
	text := d.console.String()
	// The last one: an earlier guest of this name may have run commands too.
	_, text, _ = strings.Cut(text[max(0, strings.LastIndex(text, mark+" begin")):], "\n")
	out, _, _ := strings.Cut(text, "\n"+mark+" end")
	return Result{Stdout: out, Code: code}, nil
}
