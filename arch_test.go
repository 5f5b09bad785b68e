package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// imports is the house: which of our packages each package may import. Imports
// go down only. Tests may import what they like.
var imports = map[string][]string{
	".":                          {"launch"},
	"launch":                     {"bridge", "bridge/afvsock", "bridge/vhost", "cli", "config", "daemon", "evtchn", "grant", "init", "link", "services", "services/logs", "services/payload", "toolstack", "vsock", "xen", "xenstore"},
	"bench":                      {"services"},
	"cli":                        {"bench", "bridge", "bridge/afsock", "bridge/afvsock", "config", "daemon", "image", "link", "manager", "manager/policy", "manager/policy/source", "services", "services/control", "services/discovery", "services/health", "services/logs", "services/payload", "services/varlink", "sim", "splice", "toolstack", "vsock", "xen", "xen/naming", "xenstore"},
	"config":                     {"services"},
	"init":                       {"config", "kmod"},
	"image":                      {"config", "kmod"},
	"kmod":                       {},
	"image/rig":                  {"image", "image/rig/wire", "xen"},
	"daemon":                     {"bench", "bridge/afvsock", "bridge/door", "config", "evtchn", "grant", "link", "manager", "manager/client", "manager/policy", "manager/policy/source", "manager/port1", "mux", "services", "services/control", "services/discovery", "services/echo", "services/health", "services/logs", "services/metrics", "services/payload", "services/varlink", "toolstack", "vsock", "xen", "xenstore"},
	"manager":                    {"link", "manager/policy", "manager/port1", "mux", "vsock", "xen", "xen/naming", "xenbus", "xenstore"},
	"manager/client":             {"link", "manager/policy", "manager/port1", "mux", "vsock", "xen"},
	"manager/policy":             {"services", "xen", "xen/naming"},
	"manager/policy/source":      {"manager/policy", "xenstore"},
	"manager/port1":              {"grant", "xen"},
	"bridge":                     {"services/varlink"},
	"bridge/afvsock":             {"bridge/vhost", "mux", "services", "vsock", "xen"},
	"bridge/afvsock/afvsocktest": {"bridge/vhost", "mux", "vsock"},
	"bridge/door":                {"bridge", "services", "splice", "vsock", "vsock/hybrid", "xen"},
	"bridge/afsock":              {"vsock"},
	"bridge/vhost":               {"internal/sys"},
	"splice":                     {},
	"vsock/hybrid":               {},
	"toolstack":                  {"xen", "xen/naming", "xenbus", "xenstore"},
	"services":                   {"services/journal"},
	"services/journal":           {},
	"services/varlink":           {},
	"services/rpc":               {"services", "services/varlink"},
	"services/rpc/rpctest":       {"services"},
	"services/discovery":         {"services", "services/journal", "services/rpc", "services/varlink"},
	"services/echo":              {"services"},
	"services/health":            {"services", "services/journal", "services/rpc", "services/varlink"},
	"services/control":           {"services", "services/rpc", "services/varlink"},
	"services/metrics":           {"services"},
	"services/logs":              {"services", "services/journal", "services/rpc", "services/varlink"},
	"services/payload":           {"services", "splice"},
	"vsock":                      {"link", "mux", "vsock/hybrid", "xen"},
	"link":                       {"evtchn", "grant", "ring", "xen", "xenbus", "xenstore"},
	"mux":                        {},
	"mux/muxtest":                {"mux"},
	"xenbus":                     {"xen", "xenstore"},
	"ring":                       {},
	"grant":                      {"internal/sys", "xen"},
	"evtchn":                     {"internal/sys", "xen"},
	"xenstore":                   {"xen"},
	"xen":                        {},
	"xen/naming":                 {},
	"internal/spin":              {},
	"internal/sys":               {},
	"sim":                        {"evtchn", "grant", "sim/xenstored", "xen", "xenstore"},
	"sim/xenstored":              {"xen", "xenstore"},
	"sim/conformance":            {"evtchn", "grant", "sim", "xen", "xenstore"},
	"image/benchreport":          {},
	"image/rig/agent":            {"image/rig/wire"},
	"image/rig/demo":             {"image", "image/rig"},
	"image/rig/wire":             {},
	"packaging/gen":              {"cli"},
	"examples/kv":                {},
	"examples/custom":            {"launch", "services"},
}

// source is one file of the tree that is not a test.
type source struct {
	dir, name string
	file      *ast.File
}

// sources parses every Go file that goes into a binary.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || path != "." && strings.HasPrefix(d.Name(), ".") || path == "build" || path == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() && path != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // another module, a user of this one
			}
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{dir: filepath.Dir(path), name: path, file: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// imported are the paths that a file imports.
func (s source) imported(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		paths = append(paths, p)
	}
	return paths
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, s := range sources(t) {
		allowed, known := imports[filepath.ToSlash(s.dir)]
		if !known {
			t.Errorf("%s: package %s is not in the table of the house", s.name, s.dir)
			continue
		}
		for _, p := range s.imported(t) {
			if ours, ok := strings.CutPrefix(p, "xvsock/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s; %s may import only %v", s.name, ours, s.dir, allowed)
			}
		}
	}
}

func TestUnsafeStandsInItsOwnFiles(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains(s.imported(t), "unsafe") && !strings.HasSuffix(s.name, "_unsafe.go") {
			t.Errorf("%s imports unsafe; only files named *_unsafe.go may", s.name)
		}
	}
}

// kernelCalls are what only internal/sys may use of the system-call packages:
// raw entries into the kernel, and mappings.
var kernelCalls = []string{"Syscall", "Syscall6", "RawSyscall", "RawSyscall6", "Mmap", "Munmap", "MmapPtr", "MunmapPtr", "SYS_IOCTL"}

func TestIoctlsStandInSysOnly(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == filepath.Join("internal", "sys") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if ok && (pkg.Name == "unix" || pkg.Name == "syscall") &&
				(slices.Contains(kernelCalls, sel.Sel.Name) || strings.HasPrefix(sel.Sel.Name, "Ioctl")) {
				t.Errorf("%s calls %s.%s; only internal/sys may", s.name, pkg.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := make(map[string]bool)
	for _, s := range sources(t) {
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}
