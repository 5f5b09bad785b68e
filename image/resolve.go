package image

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"xvsock/config"
	"xvsock/kmod"
)

// Resolve gives the named modules and all that they need in an order in which
// they can be loaded, each once. Names that the kernel has built in are left
// out.
func (m *Modules) Resolve(names []string) ([]Module, error) {
	r := resolver{from: m, done: make(map[string]*Module)}
	for _, name := range names {
		if err := r.add(kmod.Canonical(name), nil); err != nil {
			return nil, err
		}
	}
	return r.order, nil
}

// resolver walks dependencies depth first; a module is appended after all
// that it needs.
type resolver struct {
	from  *Modules
	done  map[string]*Module
	order []Module
}

// add appends the module name and what it needs. The path holds who needs it.
func (r *resolver) add(name string, needers []string) error {
	if _, ok := r.done[name]; ok || r.from.Builtin(name) {
		return nil
	}
	for _, needer := range needers {
		if needer == name {
			return fmt.Errorf("%w: %s", ErrModuleCycle, strings.Join(append(needers, name), " needs "))
		}
	}
	file, ok := r.from.files[name]
	if !ok {
		return r.missing(name, needers)
	}
	mod, direct, err := r.from.read(name, file)
	if err != nil {
		return err
	}
	needers = append(needers, name)
	for _, need := range direct {
		if err := r.add(kmod.Canonical(need), needers); err != nil {
			return err
		}
	}
	mod.Depends = r.transitive(direct)
	r.done[name] = &mod
	r.order = append(r.order, mod)
	return nil
}

func (r *resolver) missing(name string, needers []string) error {
	by := ""
	if len(needers) > 0 {
		by = fmt.Sprintf(", which %s needs", needers[len(needers)-1])
	}
	fix := "leave it out or take another kernel"
	if near := config.Nearest(name, r.from.names()); near != "" && by == "" {
		fix = "did you mean " + near + "?"
	}
	return fmt.Errorf("module %.80q%s: %w in %s, neither as a file nor in modules.builtin; %s",
		name, by, ErrNoModule, r.from.Dir, fix)
}

// names lists all modules in order, those that are built in too.
func (m *Modules) names() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(m.files)), maps.Keys(m.builtin))
	slices.Sort(names)
	return names
}

// transitive lists the direct dependencies and theirs so that each stands
// before what it needs itself: reversed load order, as depmod writes it.
func (r *resolver) transitive(direct []string) []string {
	wanted := make(map[string]bool)
	for _, need := range direct {
		mod, ok := r.done[kmod.Canonical(need)]
		if !ok {
			continue // built in
		}
		wanted[mod.Name] = true
		for _, deeper := range mod.Depends {
			wanted[deeper] = true
		}
	}
	var list []string
	for i := len(r.order) - 1; i >= 0; i-- {
		if wanted[r.order[i].Name] {
			list = append(list, r.order[i].Name)
		}
	}
	return list
}
