package image

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"xvsock/kmod"
)

// modules checks that the drivers, and the modules that the settings name, are in
// the image for the kernel, or built into it.
func (c *checker) modules(named []string) {
	versions := c.versions()
	assumed := c.kernel.version == ""
	if assumed && len(versions) == 1 {
		c.kernel.version = versions[0]
	}
	if assumed {
		c.say(Unchecked, "kernel", "which one the domain will boot is not known", "name it with --kernel")
	}
	i := &inventory{checker: c, dir: path.Join("lib/modules", c.kernel.version), seen: make(map[string]bool), left: maxUnpacked}
	if c.kernel.version != "" && slices.Contains(versions, c.kernel.version) {
		i.read()
	}
	before := c.report.Lacks()
	for _, name := range append(DefaultModules(), named...) {
		i.module(kmod.Canonical(name))
	}
	i.others(versions, c.report.Lacks() > before)
}

// versions are the kernels that the image has a directory of modules for.
func (c *checker) versions() []string {
	dir, ok := c.image.tree.resolve("lib/modules")
	if !ok {
		return nil
	}
	var found []string
	for _, name := range sortedNames(c.image.tree) {
		if path.Dir(name) == dir && c.image.tree[name].is(unix.S_IFDIR) {
			found = append(found, path.Base(name))
		}
	}
	return found
}

// inventory is the modules that an image has for one kernel.
type inventory struct {
	*checker
	dir  string // lib/modules/VERSION
	deps kmod.Deps
	seen map[string]bool // files that were looked at
	left int64           // bytes that they may still unpack to
}

// maxIndex bounds modules.dep and modules.builtin, in bytes. Debian's have
// 600 KiB.
const maxIndex = 8 << 20

// read reads the two indexes of the directory, as PID 1 does.
func (i *inventory) read() {
	const depmod = "run depmod before the image is made"
	name := i.dir + "/modules.dep"
	if n := i.index(name); n == nil {
		i.say(Missing, "/"+name, "PID 1 finds modules by it, and it is not in the image", depmod)
	} else if deps, err := kmod.ParseDeps(bytes.NewReader(n.data)); err != nil {
		i.say(Wrong, "/"+name, err.Error(), depmod)
	} else {
		i.deps = deps
	}
	name = i.dir + "/modules.builtin"
	if n := i.index(name); n == nil {
		return
	} else if builtin, err := kmod.ParseBuiltin(bytes.NewReader(n.data)); err != nil {
		i.say(Wrong, "/"+name, err.Error(), depmod)
	} else {
		i.kernel.add(builtin)
	}
}

// index gives one of the two files, nil if it is not there.
func (i *inventory) index(name string) *node {
	n := i.image.tree.find(name)
	if n == nil || !n.is(unix.S_IFREG) || len(n.data) > maxIndex {
		return nil
	}
	return n
}

// module checks one module, by canonical name. One that is not there counts as
// missing also if nobody knows what the kernel has built in: without the drivers
// no domain boots, and few kernels have them.
func (i *inventory) module(name string) {
	if file, ok := i.deps.Find(name); ok {
		for _, file := range i.deps.Order(file) {
			i.file(file)
		}
		return
	}
	yes, known := i.kernel.has(name)
	option := driverOption(name)
	switch {
	case yes:
		i.report.Builtin = append(i.report.Builtin, name)
	case !known && i.kernel.version == "" && i.forSome(name):
		i.say(Unchecked, name, "in the image, and whether it is for the kernel is not known", "name the kernel with --kernel")
	case !known:
		i.say(Missing, name, "not in the image, and whether the kernel has it built in is not known",
			"give --modules or --kernel-config to say that it is built in, or "+i.fix())
	case i.kernel.config != nil && option != "" && i.kernel.config[option] != "m":
		i.say(Missing, name, "not in the image, and the kernel is built without it ("+option+")", "take another kernel")
	default:
		i.say(Missing, name, "neither in the image"+i.forVersion()+" nor built into the kernel", i.fix())
	}
}

// forSome reports whether the image has the module for any kernel.
func (i *inventory) forSome(name string) bool {
	for file, n := range i.image.tree {
		if strings.HasPrefix(file, "lib/modules/") && n.is(unix.S_IFREG) && kmod.NameOf(file) == name {
			return true
		}
	}
	return false
}

func (i *inventory) forVersion() string {
	if i.kernel.version == "" {
		return ""
	}
	return " for " + i.kernel.version
}

// fix is how modules get into an image.
func (i *inventory) fix() string {
	version := i.kernel.version
	if version == "" {
		version = "VERSION"
	}
	return "build the image with --modules lib/modules/" + version
}

// file checks one file that modules.dep names: it is there, and for this kernel.
func (i *inventory) file(file string) {
	if i.seen[file] {
		return
	}
	i.seen[file] = true
	name := path.Join(i.dir, file)
	n := i.image.tree.find(name)
	if n == nil || !n.is(unix.S_IFREG) {
		i.say(Missing, "/"+name, "modules.dep names it, and it is not in the image", i.fix())
		return
	}
	i.report.Modules = append(i.report.Modules, file)
	_, form, _ := kmod.CutSuffix(file)
	data, err := decompress(bytes.NewReader(n.data), form, min(maxModule, i.left))
	i.left -= int64(len(data))
	switch {
	case errors.Is(err, ErrNoDecompressor):
		i.say(Unchecked, "/"+name, err.Error(), "")
		return
	case err != nil:
		i.say(Wrong, "/"+name, err.Error(), i.fix())
		return
	case form != "" && i.kernel.config != nil && !i.kernel.config.has("CONFIG_MODULE_DECOMPRESS"):
		i.say(Wrong, "/"+name, "it is compressed, and the kernel cannot decompress modules (CONFIG_MODULE_DECOMPRESS)", i.fix())
	}
	info, err := readModinfo(bytes.NewReader(data))
	switch {
	case err != nil:
		i.say(Wrong, "/"+name, err.Error(), i.fix())
	case info.release != "" && info.release != i.kernel.version:
		i.say(Wrong, "/"+name, fmt.Sprintf("it was built for kernel %.80q, and this is %s", info.release, i.kernel.version), i.fix())
	}
}

// others says for which kernels the image has modules, if none of them is this
// one. lacking says that they are needed.
func (i *inventory) others(versions []string, lacking bool) {
	if len(versions) == 0 || slices.Contains(versions, i.kernel.version) {
		return
	}
	level := Warning
	if lacking {
		level = Wrong
	}
	list := strings.Join(versions[:min(len(versions), maxDropped)], ", ")
	if i.kernel.version == "" { // and so there are several
		i.say(Unchecked, "/lib/modules", "there are modules for several kernels: "+list, "name the kernel with --kernel")
		return
	}
	i.say(level, "/lib/modules", fmt.Sprintf("the modules are for %s only, and %s is %s", list, i.kernel.file, i.kernel.version), i.fix())
}
