package pid1

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"xvsock/kmod"
)

// What can be wrong with a name, before anybody looks for it.
var (
	errModuleName   = errors.New("not the name of a module")
	errModuleParams = errors.New("parameters are not supported")
)

// FurtherStep returns the step "further-modules", which loads what a domain was
// told to load beside the drivers for Xen, in that order and each after what it
// needs. names is asked when the step runs, since the settings are not read
// before; strict says whether one that cannot be loaded is to fail the boot.
//
// Each that cannot be loaded is one line that says why, and keeps no other from
// being loaded. A strict boot fails with the first of them.
func (in *Init) FurtherStep(m Modules, names func() (list []string, strict bool)) Step {
	return Step{Name: "further-modules", Run: func(ctx context.Context) error {
		list, strict := names()
		var failed []error
		for _, name := range list {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := m.loadNamed(ctx, name); err != nil {
				failed = append(failed, err)
			}
		}
		var first error
		if strict && len(failed) > 0 {
			first, failed = failed[0], failed[1:]
		}
		for _, err := range failed {
			in.say("further-modules: %v", err)
		}
		return first
	}}
}

// loadNamed loads the module of that name, which came from the settings.
func (m Modules) loadNamed(ctx context.Context, name string) error {
	switch {
	case strings.Contains(name, "="):
		return &Fault{fmt.Sprintf("module %.80q", name), errModuleParams,
			"write its name alone; a driver that is built in takes them from the kernel's command line"}
	case !kmod.IsName(name):
		return &Fault{fmt.Sprintf("module %.80q", name), errModuleName, "write it as modprobe takes it"}
	}
	return m.Load(ctx, []Module{{Name: name}})
}
