package image

import (
	"fmt"
	"maps"

	"xvsock/kmod"
)

// kernelFacts is what is known of the kernel that an image is for.
type kernelFacts struct {
	version string // "" if not known
	file    string // what said so
	// builtin are modules that it has in it, by canonical name; nil if no
	// modules.builtin was found.
	builtin map[string]bool
	config  kernelConfig // nil if not known
}

// readKernelFacts reads what the options name.
func readKernelFacts(o CheckOptions) (k kernelFacts, err error) {
	if o.Kernel != "" {
		kernel, err := ReadKernel(o.Kernel)
		if err != nil {
			return k, err
		}
		k.version, k.file = kernel.Version, o.Kernel
	}
	if o.ModulesDir != "" {
		m, err := OpenModules(o.ModulesDir)
		if err != nil {
			return k, err
		}
		if k.version != "" && k.version != m.Version {
			return k, fmt.Errorf("%w: %s is %s, and %s is for %s", ErrVersion, o.Kernel, k.version, o.ModulesDir, m.Version)
		}
		if k.version == "" {
			k.version, k.file = m.Version, o.ModulesDir
		}
		k.builtin = m.builtin
	}
	file := o.KernelConfig
	if file == "" && o.Kernel != "" {
		file = configBeside(o.Kernel, k.version)
	}
	if file != "" {
		if k.config, err = readKernelConfig(file); err != nil {
			return k, err
		}
	}
	return k, nil
}

// add notes what a modules.builtin of the image says.
func (k *kernelFacts) add(builtin map[string]bool) {
	all := make(map[string]bool)
	maps.Copy(all, k.builtin)
	maps.Copy(all, builtin)
	k.builtin = all
}

// has says whether a module is built in, and whether that is known. A list of what
// is built in decides; the configuration is asked where there is none.
func (k *kernelFacts) has(module string) (yes, known bool) {
	module = kmod.Canonical(module)
	option := driverOption(module)
	switch {
	case k.builtin[module]:
		return true, true
	case k.config != nil && option != "":
		return k.config.has(option), true
	}
	return false, k.builtin != nil
}
