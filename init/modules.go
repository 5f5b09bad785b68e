package pid1

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xvsock/kmod"
)

// Module is one driver that the domain needs.
type Module struct {
	// Name is the module's, spelt with - or _.
	Name string
	// Device is the node that shows that the driver is there, whether it was
	// loaded or built in. Empty: /sys/module is asked.
	Device string
	// Min are numeric parameters and the least that each must be. They are given
	// at load, and raised through /sys/module when the driver is there already.
	Min map[string]uint64
}

// Drivers returns the three drivers that userspace needs to speak to Xen.
// grantLimit is the number of pages that the domain may grant at once.
func Drivers(grantLimit uint64) []Module {
	return []Module{
		{Name: "xen-evtchn", Device: "/dev/xen/evtchn"},
		{Name: "xen-gntdev", Device: "/dev/xen/gntdev"},
		{Name: "xen-gntalloc", Device: "/dev/xen/gntalloc", Min: map[string]uint64{"limit": grantLimit}},
	}
}

// Modules loads drivers from the image.
type Modules struct {
	Kernel Kernel
	// Root is the directory that stands for /. Empty: /.
	Root string
}

// ErrNoModule says that a module is neither in the kernel nor in the image.
var ErrNoModule = errors.New("not in the kernel and not in the image")

// ModuleStep returns the step "modules", which makes every driver of the table
// available.
func ModuleStep(m Modules, table []Module) Step {
	return Step{Name: "modules", Run: func(ctx context.Context) error { return m.Load(ctx, table) }}
}

// Load makes every driver of the table available: those that are there already
// are left alone, the others are loaded after what they need. All that are
// missing make one error, a *Fault wrapping ErrNoModule; another failure ends
// Load at once.
func (m Modules) Load(ctx context.Context, table []Module) error {
	release, err := m.Kernel.Release()
	if err != nil {
		return fmt.Errorf("kernel version: %w", err)
	}
	dir := m.path("/lib/modules/" + release)
	var deps kmod.Deps
	var noDeps error // why deps is nil
	var missing []Module
	for _, mod := range table {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		there, err := m.present(mod, dir)
		if err != nil {
			return err
		}
		if !there {
			if deps == nil && noDeps == nil {
				deps, noDeps = readModuleDeps(dir)
			}
			file, ok := deps.Find(mod.Name)
			if !ok {
				missing = append(missing, mod)
				continue
			}
			if err := m.insert(mod, dir, deps.Order(file)); err != nil {
				return err
			}
		}
		if err := m.raise(mod); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return m.missing(missing, release, noDeps)
	}
	return nil
}

func (m Modules) path(p string) string { return filepath.Join("/", m.Root, p) }

func readModuleDeps(dir string) (kmod.Deps, error) {
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	deps, err := kmod.ParseDeps(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return deps, nil
}

// present reports whether the driver is loaded or built in.
func (m Modules) present(mod Module, dir string) (bool, error) {
	if mod.Device != "" {
		return exists(m.path(mod.Device)), nil
	}
	if exists(m.path("/sys/module/" + kmod.Canonical(mod.Name))) {
		return true, nil
	}
	return builtIn(dir, mod.Name)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// builtIn looks in modules.builtin, as a driver without parameters has no
// folder in /sys/module when it is built in. An image need not have the file.
func builtIn(dir, name string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return false, nil
	}
	defer f.Close()
	builtin, err := kmod.ParseBuiltin(f)
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return builtin[kmod.Canonical(name)], nil
}

// insert loads the files in order, the last of which is the driver's own, and
// sees that the device has come.
func (m Modules) insert(mod Module, dir string, files []string) error {
	for i, file := range files {
		params := ""
		if i == len(files)-1 {
			params = mod.params()
		}
		err := m.Kernel.LoadModule(filepath.Join(dir, file), params)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return &Fault{needed(file, i == len(files)-1, mod), err, loadFix(err)}
		}
	}
	if mod.Device == "" {
		return nil // the kernel's word has to do
	}
	there, err := m.present(mod, dir)
	if err != nil {
		return err
	}
	if !there {
		return &Fault{"module " + mod.Name, fmt.Errorf("loaded, but there is no %s", mod.Device),
			"see the kernel's messages above"}
	}
	return nil
}

// needed names the module in file, and whose sake it was loaded for if that is
// another one.
func needed(file string, own bool, mod Module) string {
	name := "module " + kmod.NameOf(file)
	if !own {
		name += ", which " + mod.Name + " needs"
	}
	return name
}

// loadFix says what a refusal of finit_module(2) means in a service domain.
func loadFix(err error) string {
	switch {
	case errors.Is(err, unix.ENODEV):
		return "this is not a Xen domain, or its kernel has no Xen support"
	case errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EKEYREJECTED):
		return "it is not made for this kernel: build the image from the modules of the same package"
	case errors.Is(err, unix.ENOSYS):
		return "this kernel loads no modules: use one with the Xen drivers built in"
	case errors.Is(err, unix.EOPNOTSUPP):
		return "this kernel cannot decompress modules: xvsock image build stores them uncompressed"
	case errors.Is(err, fs.ErrNotExist):
		return "modules.dep names a file that is not in the image: build the image again"
	}
	return ""
}

func (mod Module) params() string {
	var words []string
	for name, least := range mod.Min {
		words = append(words, name+"="+strconv.FormatUint(least, 10))
	}
	return strings.Join(words, " ")
}

// raise sets the parameters of a driver that was there already, where they are
// lower. A parameter that cannot be seen is one that this kernel does not have,
// and who needs it finds out where it matters.
func (m Modules) raise(mod Module) error {
	for name, least := range mod.Min {
		path := m.path("/sys/module/" + kmod.Canonical(mod.Name) + "/parameters/" + name)
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		now, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || now >= least {
			continue
		}
		if err := os.WriteFile(path, []byte(strconv.FormatUint(least, 10)), 0); err != nil {
			return &Fault{Thing: "module " + mod.Name, Err: fmt.Errorf("set %s to %d: %w", name, least, err)}
		}
	}
	return nil
}

// missing makes the one line about modules that cannot be had.
func (m Modules) missing(mods []Module, release string, noDeps error) error {
	var names, devices []string
	for _, mod := range mods {
		names = append(names, mod.Name)
		if mod.Device != "" {
			devices = append(devices, mod.Device)
		}
	}
	thing := "modules " + strings.Join(names, ", ")
	if len(names) == 1 {
		thing = "module " + names[0]
	}
	why := ErrNoModule
	if len(devices) > 0 {
		why = fmt.Errorf("%w, so there is no %s", why, strings.Join(devices, ", "))
	}
	if noDeps != nil {
		why = fmt.Errorf("%w (%s)", why, m.reason(release, noDeps))
	}
	fix := "put them there with: xvsock image build --modules lib/modules/" + release
	if len(devices) == 0 {
		fix += " --module " + strings.Join(names, ",")
	}
	return &Fault{thing, why, fix}
}

// reason says why there was no usable modules.dep. An image built for another
// kernel is by far the most common one.
func (m Modules) reason(release string, noDeps error) string {
	if !errors.Is(noDeps, fs.ErrNotExist) {
		return noDeps.Error()
	}
	found, _ := filepath.Glob(m.path("/lib/modules/*/modules.dep"))
	if len(found) == 0 {
		return "the image holds no modules"
	}
	other := filepath.Base(filepath.Dir(found[0]))
	return fmt.Sprintf("the image holds those of kernel %s, this kernel is %s", other, release)
}
