package kmod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds one line of modules.dep or modules.builtin, in bytes.
const maxLine = 1 << 16

// ErrPath says that a file has what is no module's path, or a path that would
// lead out of the modules directory.
var ErrPath = errors.New("not a module's path below the directory")

// ParseDeps reads modules.dep (modules.dep(5)), "FILE: FILE FILE..." in each
// line. Any other line is an error that names it, since a module loaded without
// what it needs fails with a reason that nobody understands. The error is
// ErrPath, wrapped, for a path that is not to be used.
func ParseDeps(r io.Reader) (Deps, error) {
	deps := make(Deps)
	err := eachLine(r, func(line string) error {
		file, list, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("has no colon: %.80q", line)
		}
		needs := strings.Fields(list)
		if err := checkPath(file); err != nil {
			return err
		}
		for _, need := range needs {
			if err := checkPath(need); err != nil {
				return err
			}
		}
		deps[file] = needs
		return nil
	})
	if err != nil {
		return nil, err
	}
	return deps, nil
}

// ParseBuiltin reads modules.builtin, one path a line, and returns the canonical
// names of the modules that the kernel has built in. A line that is no module's
// path is an error, ErrPath, wrapped, that names it.
func ParseBuiltin(r io.Reader) (map[string]bool, error) {
	builtin := make(map[string]bool)
	err := eachLine(r, func(line string) error {
		if err := checkPath(line); err != nil {
			return err
		}
		builtin[NameOf(line)] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return builtin, nil
}

func checkPath(file string) error {
	if NameOf(file) == "" {
		return fmt.Errorf("has %.80q, which is %w", file, ErrPath)
	}
	return nil
}

// eachLine calls use with every line that is neither empty nor a comment. The
// error of use reads on from "line N".
func eachLine(r io.Reader, use func(line string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number := 1
	for ; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := use(line); err != nil {
			return fmt.Errorf("line %d %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", number, err)
	}
	return nil
}
