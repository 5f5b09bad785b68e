package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// writeLicences writes into the file to the licences of the Go library and of each
// module that is linked into the binary: most of them ask to go with it.
func writeLicences(binary, to string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	goroot, err := goTool("env", "GOROOT")
	if err != nil {
		return err
	}
	if err := addLicence(&out, "The Go library", goroot); err != nil {
		return err
	}
	slices.SortFunc(info.Deps, func(a, b *debug.Module) int { return strings.Compare(a.Path, b.Path) })
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		dir, err := goTool("list", "-m", "-f", "{{.Dir}}", m.Path)
		if err != nil {
			return err
		}
		if err := addLicence(&out, m.Path, dir); err != nil {
			return err
		}
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

// addLicence adds what stands in the licence files at the top of dir.
func addLicence(out *bytes.Buffer, name, dir string) error {
	var files []string
	for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: no licence in %s", name, dir)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s, %s\n\n%s\n\n", name, filepath.Base(file), bytes.TrimSpace(text))
	}
	return nil
}

// goTool gives what a go command prints.
func goTool(args ...string) (string, error) {
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("run go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
