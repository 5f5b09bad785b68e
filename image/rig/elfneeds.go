package rig

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// libraryDirs is where Debian's dynamic linker looks without a cache.
func libraryDirs() []string {
	return []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"}
}

// errNoLibrary says that no unpacked package holds a library.
var errNoLibrary = errors.New("no unpacked package holds it")

// needed gives the shared libraries and the dynamic linker that programs
// under root link to, directly or not, as paths relative to root.
func needed(root string, programs []string) ([]string, error) {
	var found []string
	todo := slices.Clone(programs)
	for len(todo) > 0 {
		program := todo[0]
		todo = todo[1:]
		names, err := linksTo(filepath.Join(root, program))
		if err != nil {
			return nil, fmt.Errorf("find libraries of %s: %w", program, err)
		}
		for _, name := range names {
			library, err := findLibrary(root, name)
			if err != nil {
				return nil, fmt.Errorf("find library %s of %s: %w", name, program, err)
			}
			if !slices.Contains(found, library) {
				found = append(found, library)
				todo = append(todo, library)
			}
		}
	}
	return found, nil
}

// linksTo gives the names of the libraries that the ELF file links to. The
// dynamic linker is one of them to every dynamic program: libc names it.
func linksTo(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ImportedLibraries()
}

func findLibrary(root, name string) (string, error) {
	for _, dir := range libraryDirs() {
		library := path.Join(dir, name)
		if _, err := os.Stat(filepath.Join(root, library)); err == nil {
			return library, nil
		}
	}
	return "", errNoLibrary
}
