package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"xvsock/image"
	"xvsock/image/rig/wire"
)

const (
	// toolsDir is where xl looks for its own helpers.
	toolsDir = "usr/lib/xen-4.17/bin"
	// agentPackage is dom0's PID 1.
	agentPackage = "xvsock/image/rig/agent"
)

// dom0Programs lists what dom0 gets of the Xen tools.
func dom0Programs(xenstored string) []string {
	programs := []string{}
	for _, name := range []string{xenstored, "xl", "libxl-save-helper", "xenconsoled", "xen-init-dom0", "lsevtchn"} {
		programs = append(programs, path.Join(toolsDir, name))
	}
	for _, name := range []string{"chmod", "exists", "list", "ls", "read", "rm", "watch", "write"} {
		programs = append(programs, "usr/bin/xenstore-"+name)
	}
	return programs
}

// controlModules make the virtio serial port of the agent.
func controlModules() []string { return []string{"virtio_pci", "virtio_console"} }

// xenModules are the drivers that the toolstack needs, and a program that
// speaks to other domains.
func xenModules() []string {
	return []string{"xen_evtchn", "xen_gntdev", "xen_gntalloc", "xen_privcmd", "xenfs"}
}

// writeInitramfs writes dom0's initramfs to file. It is not compressed: Linux
// would have to unpack it under emulation, and QEMU hands it over by a copy.
func writeInitramfs(ctx context.Context, parts *Parts, c Config, agent, file string) error {
	a := image.NewArchive()
	b := builder{parts: parts, archive: a}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"add the agent", func() error { return b.file("init", agent, 0o755) }},
		{"add the shell", func() error { return b.busybox(ctx) }},
		{"add the Xen tools", func() error { return b.programs(dom0Programs(c.xenstored())) }},
		{"add modules", func() error { return b.plan(c) }},
		{"add files", func() error { return b.files(c.Files) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("build dom0's initramfs: %s: %w", step.what, err)
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "var/log", "etc/xen", "root"} {
		a.Dir(dir, 0o755)
	}
	a.Char("dev/console", 0o600, 5, 1)
	a.Link("var/run", "/run")
	a.File("etc/xen/xl.conf", []byte("autoballoon=\"off\"\n"), 0o644)
	// Without these two oxenstored opens the empty path and dies unseen.
	a.File("etc/xen/oxenstored.conf",
		[]byte("xenstored-kva = /proc/xen/xsd_kva\nxenstored-port = /proc/xen/xsd_port\npersistent = false\n"), 0o644)
	a.File("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644)
	a.File("etc/group", []byte("root:x:0:\n"), 0o644)
	return writeArchive(a, file)
}

func writeArchive(a *image.Archive, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = a.Write(w)
	if err == nil {
		err = w.Flush()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// builder adds files to dom0's archive.
type builder struct {
	parts   *Parts
	archive *image.Archive
}

func (b builder) file(name, from string, perm uint32) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	b.archive.File(strings.TrimPrefix(path.Clean(name), "/"), data, perm)
	return nil
}

// files adds the caller's files, with the permissions they have here.
func (b builder) files(files map[string]string) error {
	for name, from := range files {
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		if err := b.file(name, from, uint32(info.Mode().Perm())); err != nil {
			return err
		}
	}
	return nil
}

// busybox adds busybox and a link for each of its programs.
func (b builder) busybox(ctx context.Context) error {
	binary := filepath.Join(b.parts.Root, "bin/busybox")
	list, err := exec.CommandContext(ctx, binary, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the programs of busybox: %w", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		if name != "busybox" {
			b.archive.Link("bin/"+name, "busybox")
		}
	}
	return b.file("bin/busybox", binary, 0o755)
}

// programs adds programs of the packages with all libraries they link to, and
// libgcc, which glibc loads when a thread of xl is cancelled.
func (b builder) programs(programs []string) error {
	libraries, err := needed(b.parts.Root, append([]string{libraryDirs()[0] + "/libgcc_s.so.1"}, programs...))
	if err != nil {
		return err
	}
	programs = append(programs, libraryDirs()[0]+"/libgcc_s.so.1")
	for _, name := range append(programs, libraries...) {
		if b.archive.Has(name) {
			continue
		}
		if err := b.file(name, filepath.Join(b.parts.Root, name), 0o755); err != nil {
			return err
		}
	}
	b.archive.Link("lib64/ld-linux-x86-64.so.2", "/"+libraryDirs()[0]+"/ld-linux-x86-64.so.2")
	return nil
}

// plan adds the modules and what the agent is to do with them.
func (b builder) plan(c Config) error {
	modules, err := image.OpenModules(b.parts.Dom0.Modules)
	if err != nil {
		return err
	}
	control, err := b.modules(modules, controlModules())
	if err != nil {
		return err
	}
	others, err := b.modules(modules, append(xenModules(), c.Dom0Modules...))
	if err != nil {
		return err
	}
	data, err := json.Marshal(wire.Plan{
		ControlModules: control,
		Modules:        others,
		Dirs: []string{
			"/run/xen", "/run/xenstored", "/run/lock", "/var/lib/xen", "/var/lib/xenstored",
			"/var/log/xen", guestLogDir,
		},
		Setup: append([][]string{c.xenstoredCommand(), {"xen-init-dom0"}, {"xenconsoled", "--log=guest"}}, c.Setup...),
	})
	if err != nil {
		return err
	}
	b.archive.File(strings.TrimPrefix(wire.PlanFile, "/"), data, 0o644)
	return nil
}

// modules adds modules with their dependencies and gives their paths in the
// order of loading.
func (b builder) modules(from *image.Modules, names []string) ([]string, error) {
	resolved, err := from.Resolve(names)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, m := range resolved {
		name := path.Join("lib/modules", from.Version, m.Path)
		if !b.archive.Has(name) {
			b.archive.File(name, m.Data, 0o644)
		}
		paths = append(paths, "/"+name)
	}
	return paths, nil
}
