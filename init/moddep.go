package pid1

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// moduleDeps is a modules.dep file (depmod(8)): the modules that each module's
// file needs, by path below the modules directory.
type moduleDeps map[string][]string

// parseModuleDeps reads modules.dep. A line that is not FILE: FILE... is an
// error that names it, since a module loaded without what it needs fails with a
// reason that nobody understands.
func parseModuleDeps(r io.Reader) (moduleDeps, error) {
	deps := moduleDeps{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		file, needs, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d has no colon: %.80q", n, line)
		}
		deps[strings.TrimSpace(file)] = strings.Fields(needs)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return deps, nil
}

// moduleName returns the name by which the kernel knows the module in a file:
// without folder and extensions, and with every - as _.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// find returns the file that holds the module of that name, spelt with - or _.
func (d moduleDeps) find(name string) (file string, ok bool) {
	name = moduleName(name)
	for file := range d {
		if moduleName(file) == name {
			return file, true
		}
	}
	return "", false
}

// order returns file and all that it needs, in an order in which they load. A
// circle, which depmod never writes, is cut and not followed.
func (d moduleDeps) order(file string) []string {
	var order []string
	seen := map[string]bool{}
	var visit func(string)
	visit = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		// depmod lists what is needed nearest first, so the last loads first.
		needs := d[file]
		for i := len(needs) - 1; i >= 0; i-- {
			visit(needs[i])
		}
		order = append(order, file)
	}
	visit(file)
	return order
}
