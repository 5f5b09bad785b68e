package image

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxDepLine bounds one line of modules.dep or modules.builtin.
const maxDepLine = 1 << 16

// errModulePath says that a path would lead out of the modules directory.
var errModulePath = errors.New("not a module's path below the directory")

// parseModulesDep reads depmod's modules.dep: "path: path path ...", each
// path relative to the directory. The result maps each module to its
// dependencies, all of them and not only the direct ones, as depmod lists them.
func parseModulesDep(r io.Reader) (map[string][]string, error) {
	deps := make(map[string][]string)
	err := eachLine(r, func(line string) error {
		module, list, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("no colon in %q", line)
		}
		if moduleNameOf(module) == "" {
			return fmt.Errorf("%q is %w", module, errModulePath)
		}
		needs := strings.Fields(list)
		for _, need := range needs {
			if moduleNameOf(need) == "" {
				return fmt.Errorf("%q is %w", need, errModulePath)
			}
		}
		deps[module] = needs
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("parse modules.dep: %w", err)
	}
	return deps, nil
}

// parseModulesBuiltin reads modules.builtin, one path a line, and gives the
// canonical names of the modules that the kernel has built in.
func parseModulesBuiltin(r io.Reader) (map[string]bool, error) {
	builtin := make(map[string]bool)
	err := eachLine(r, func(line string) error {
		name := moduleNameOf(line)
		if name == "" {
			return fmt.Errorf("%q is %w", line, errModulePath)
		}
		builtin[name] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("parse modules.builtin: %w", err)
	}
	return builtin, nil
}

// eachLine calls use with every line that is neither empty nor a comment, and
// adds the line's number to an error.
func eachLine(r io.Reader, use func(line string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxDepLine)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := use(line); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return lines.Err()
}

// moduleNameOf gives the canonical name of the module in file p, a clean
// relative path, or "" when p is not one.
func moduleNameOf(p string) string {
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || strings.HasPrefix(p, "../") ||
		strings.ContainsAny(p, " \t\r\n:\\") {
		return ""
	}
	name, _, ok := cutModuleSuffix(path.Base(p))
	if !ok || !isModuleName(name) {
		return ""
	}
	return canonical(name)
}

// cutModuleSuffix splits a module's file name into its name and the form of
// compression ("", "gz", "xz" or "zst").
func cutModuleSuffix(file string) (name, compression string, ok bool) {
	for _, form := range []string{"", "gz", "xz", "zst"} {
		suffix := ".ko"
		if form != "" {
			suffix += "." + form
		}
		if name, ok = strings.CutSuffix(file, suffix); ok {
			return name, form, name != ""
		}
	}
	return "", "", false
}
