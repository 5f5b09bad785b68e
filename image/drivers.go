package image

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"xvsock/kmod"
)

// ErrVersion says that the kernel and the modules are of two releases.
var ErrVersion = errors.New("kernel and modules do not belong together")

// DefaultModules are the drivers that xvsock needs when the kernel does not
// have them built in: event channels, and granting and reading pages.
func DefaultModules() []string { return []string{"xen_evtchn", "xen_gntdev", "xen_gntalloc"} }

// addModules adds the drivers, the modules named beside them, and what they
// need.
func addModules(a *Archive, o Options, named []string, report *Report) error {
	var kernel Kernel
	var err error
	if o.Kernel != "" {
		if kernel, err = ReadKernel(o.Kernel); err != nil {
			return err
		}
	}
	if o.ModulesDir == "" {
		if len(named) > 0 {
			return fmt.Errorf("modules %s wanted, but no modules directory named; name lib/modules/VERSION", strings.Join(named, ", "))
		}
		return nil
	}
	from, err := OpenModules(o.ModulesDir)
	if err != nil {
		return err
	}
	if o.Kernel != "" && kernel.Version != from.Version {
		return fmt.Errorf("%w: %s is %s, and %s is for %s; name lib/modules/%s",
			ErrVersion, o.Kernel, kernel.Version, o.ModulesDir, from.Version, kernel.Version)
	}
	wanted := append(DefaultModules(), named...)
	modules, err := from.Resolve(wanted)
	if err != nil {
		return err
	}
	report.Version = from.Version
	for _, name := range wanted {
		if name = kmod.Canonical(name); from.Builtin(name) && !slices.Contains(report.Builtin, name) {
			report.Builtin = append(report.Builtin, name)
		}
	}
	for _, m := range modules {
		report.Modules = append(report.Modules, m.Path)
	}
	from.addTo(a, modules)
	return nil
}

// addTo adds modules and the two indexes that a loader reads.
func (m *Modules) addTo(a *Archive, modules []Module) {
	dir := path.Join("lib/modules", m.Version)
	for _, module := range modules {
		a.File(path.Join(dir, module.Path), module.Data, 0o644)
	}
	a.File(path.Join(dir, "modules.dep"), formatModulesDep(modules), 0o644)
	a.File(path.Join(dir, "modules.builtin"), m.builtinIndex, 0o644)
}

// formatModulesDep writes modules.dep as depmod does. A line without
// dependencies ends with the colon.
func formatModulesDep(modules []Module) []byte {
	paths := make(map[string]string)
	for _, m := range modules {
		paths[m.Name] = m.Path
	}
	sorted := slices.Clone(modules)
	slices.SortFunc(sorted, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	var b bytes.Buffer
	for _, m := range sorted {
		b.WriteString(m.Path + ":")
		for _, need := range m.Depends {
			b.WriteString(" " + paths[need])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
