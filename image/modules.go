package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"xvsock/kmod"
)

// The errors of finding modules.
var (
	// ErrNoModule says that neither the directory nor the kernel has a module.
	ErrNoModule = errors.New("no such module")
	// ErrModuleCycle says that modules need each other in a circle.
	ErrModuleCycle = errors.New("modules need each other in a circle")
)

// Module is one kernel module, decompressed.
type Module struct {
	// Name is the module's name with underscores, as /proc/modules shows it.
	Name string
	// Path is where the image has it, relative to lib/modules/VERSION: its
	// path in the directory without a suffix of compression.
	Path string
	// Depends names all modules it needs, directly or not. Loading them from
	// the last to the first works (the order of modules.dep).
	Depends []string
	// Data is the module itself.
	Data []byte
}

// Modules is a directory of modules: lib/modules/VERSION.
type Modules struct {
	// Dir is the directory, symbolic links resolved.
	Dir string
	// Version is the kernel release that the directory is named after.
	Version string

	files   map[string]string // canonical name -> path relative to Dir
	listed  kmod.Deps         // nil without modules.dep
	builtin map[string]bool   // canonical names

	builtinIndex []byte // modules.builtin as it was read
}

// OpenModules reads what dir, lib/modules/VERSION or a link to it, has: from
// modules.dep if that is there (depmod writes it when a kernel package is
// installed), else by walking the directory.
func OpenModules(dir string) (*Modules, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err == nil {
		resolved, err = filepath.Abs(resolved)
	}
	if err != nil {
		return nil, fmt.Errorf("open modules directory: %w", err)
	}
	m := &Modules{Dir: resolved, Version: filepath.Base(resolved)}
	if info, err := os.Stat(resolved); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("open modules directory %s: not a directory; name lib/modules/VERSION", dir)
	}
	if err := m.readBuiltin(); err != nil {
		return nil, fmt.Errorf("open modules directory %s: %w", dir, err)
	}
	if err := m.readIndex(); err != nil {
		return nil, fmt.Errorf("open modules directory %s: %w", dir, err)
	}
	if len(m.files) == 0 && len(m.builtin) == 0 {
		return nil, fmt.Errorf("open modules directory %s: no modules in it; name lib/modules/VERSION", dir)
	}
	return m, nil
}

func (m *Modules) readBuiltin() error {
	data, err := os.ReadFile(filepath.Join(m.Dir, "modules.builtin"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel with nothing built in, or a directory put together by hand
	}
	if err != nil {
		return err
	}
	m.builtinIndex = data
	if m.builtin, err = kmod.ParseBuiltin(bytes.NewReader(data)); err != nil {
		return fmt.Errorf("parse modules.builtin: %w", err)
	}
	return nil
}

func (m *Modules) readIndex() error {
	m.files = make(map[string]string)
	f, err := os.Open(filepath.Join(m.Dir, "modules.dep"))
	if errors.Is(err, fs.ErrNotExist) {
		return m.walk()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if m.listed, err = kmod.ParseDeps(f); err != nil {
		return fmt.Errorf("parse modules.dep: %w", err)
	}
	for file := range m.listed {
		m.addFile(file)
	}
	return nil
}

// walk finds the modules of a directory that depmod has not seen, as in a
// kernel package that is unpacked and not installed.
func (m *Modules) walk() error {
	return filepath.WalkDir(m.Dir, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(m.Dir, p)
		if err != nil {
			return err
		}
		m.addFile(filepath.ToSlash(rel))
		return nil
	})
}

// addFile notes a module's file, of two with one name the one that depmod takes.
func (m *Modules) addFile(file string) {
	name := kmod.NameOf(file)
	if name == "" {
		return
	}
	old, ok := m.files[name]
	if !ok || kmod.Precedes(file, old) {
		m.files[name] = file
	}
}

// Builtin reports whether the kernel has the named module built in.
func (m *Modules) Builtin(name string) bool { return m.builtin[kmod.Canonical(name)] }

// read loads one module and gives the names of what it needs: from
// modules.dep when there is one, else from the module itself.
func (m *Modules) read(name, file string) (Module, []string, error) {
	data, err := readModule(filepath.Join(m.Dir, filepath.FromSlash(file)))
	if err != nil {
		if m.listed != nil && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w, though modules.dep lists it; run depmod -a %s", err, m.Version)
		}
		return Module{}, nil, fmt.Errorf("read module %s: %w", file, err)
	}
	info, err := readModinfo(bytes.NewReader(data))
	if err != nil {
		return Module{}, nil, fmt.Errorf("read module %s: %w", file, err)
	}
	if info.release != "" && info.release != m.Version {
		return Module{}, nil, fmt.Errorf("module %s was built for kernel %s, but its directory is named %s; "+
			"name the directory after its kernel", file, info.release, m.Version)
	}
	mod := Module{Name: name, Path: plainPath(file), Data: data}
	if m.listed == nil {
		return mod, info.depends, nil
	}
	var needs []string
	for _, need := range m.listed[file] {
		needs = append(needs, kmod.NameOf(need))
	}
	return mod, needs, nil
}

// plainPath is file without its suffix of compression.
func plainPath(file string) string {
	name, _, _ := kmod.CutSuffix(path.Base(file))
	return path.Join(path.Dir(file), name+".ko")
}
