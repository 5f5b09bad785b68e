package image

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"xvsock/kmod"
)

// The errors of Build, besides those of reading its inputs.
var (
	// ErrVersion says that the kernel and the modules are of two releases.
	ErrVersion = errors.New("kernel and modules do not belong together")
	// ErrProgram says that the program cannot be PID 1 of a service domain.
	ErrProgram = errors.New("not a static program for this domain")
)

// maxProgram bounds the program and every other file of an image in bytes.
const maxProgram = 256 << 20

// DefaultModules are the drivers that xvsock needs when the kernel does not
// have them built in: event channels, and granting and reading pages.
func DefaultModules() []string { return []string{"xen_evtchn", "xen_gntdev", "xen_gntalloc"} }

// Options says what Build makes.
type Options struct {
	// Output is the file to write.
	Output string
	// Program is the static program that becomes PID 1; empty means the
	// program that is running.
	Program string
	// Kernel is the bzImage that the domain will boot. It is not put into the
	// image; Build only checks that the modules belong to it. Empty means that
	// it cannot be checked.
	Kernel string
	// ModulesDir is lib/modules/VERSION or a link to it. Empty means an image
	// without modules, for a kernel that has all drivers built in.
	ModulesDir string
	// Modules names what to take from there, besides what that needs; nil
	// means DefaultModules. Names of drivers that are built in are fine.
	Modules []string
	// Files maps paths in the image ("etc/xvsock.toml") to files here.
	Files map[string]string
}

// Report is what Build made.
type Report struct {
	// Output is the file written, Size its size in bytes, Unpacked the size of
	// the archive in it, and SHA256 the file's hash in hexadecimal.
	Output         string
	Size, Unpacked int64
	SHA256         string
	// Version is the kernel release of the modules; empty without modules.
	Version string
	// Modules are the paths of the modules in the image, relative to
	// lib/modules/VERSION, in the order in which they can be loaded.
	Modules []string
	// Builtin are the wanted modules that the kernel has built in.
	Builtin []string
}

// Build writes an initramfs. The same inputs give the same bytes. The output
// appears whole or not at all.
func Build(o Options) (Report, error) {
	report, err := build(o)
	if err != nil {
		return Report{}, fmt.Errorf("build image: %w", err)
	}
	return report, nil
}

func build(o Options) (Report, error) {
	if o.Output == "" {
		return Report{}, errors.New("no output file named")
	}
	a := NewArchive()
	report := Report{Output: o.Output}
	if err := addProgram(a, o.Program); err != nil {
		return Report{}, err
	}
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys"} {
		a.Dir(dir, 0o755)
	}
	a.Dir("tmp", 0o1777)
	// Linux opens it for PID 1 before anything is mounted.
	a.Char("dev/console", 0o600, 5, 1)
	if err := addModules(a, o, &report); err != nil {
		return Report{}, err
	}
	if err := addFiles(a, o.Files); err != nil {
		return Report{}, err
	}
	data, unpacked, err := compress(a)
	if err != nil {
		return Report{}, err
	}
	sum := sha256.Sum256(data)
	report.Size, report.Unpacked, report.SHA256 = int64(len(data)), unpacked, hex.EncodeToString(sum[:])
	return report, writeWhole(o.Output, data)
}

// addProgram adds PID 1 and the names that the kernel and people know it by.
func addProgram(a *Archive, program string) error {
	if program == "" {
		running, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the running program: %w", err)
		}
		program = running
	}
	data, err := readFile(program)
	if err != nil {
		return fmt.Errorf("read the program: %w", err)
	}
	if err := checkProgram(data); err != nil {
		return fmt.Errorf("use %s as PID 1: %w", program, err)
	}
	a.File("init", data, 0o755)
	for _, name := range []string{"poweroff", "reboot", "xvsock"} {
		a.Link("sbin/"+name, "/init")
	}
	return nil
}

// checkProgram refuses what the kernel could not start: there is no dynamic
// linker in the image, and nothing for another architecture.
func checkProgram(data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%w: not an ELF file", ErrProgram)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("%w: it is for %s, not EM_X86_64; build with GOARCH=amd64", ErrProgram, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%w: it is linked dynamically; build with CGO_ENABLED=0", ErrProgram)
		}
	}
	return nil
}

func addModules(a *Archive, o Options, report *Report) error {
	var kernel Kernel
	var err error
	if o.Kernel != "" {
		if kernel, err = ReadKernel(o.Kernel); err != nil {
			return err
		}
	}
	if o.ModulesDir == "" {
		if len(o.Modules) > 0 {
			return fmt.Errorf("modules %s wanted, but no modules directory named", strings.Join(o.Modules, ", "))
		}
		return nil
	}
	from, err := OpenModules(o.ModulesDir)
	if err != nil {
		return err
	}
	if o.Kernel != "" && kernel.Version != from.Version {
		return fmt.Errorf("%w: %s is %s, and %s is for %s; name lib/modules/%s",
			ErrVersion, o.Kernel, kernel.Version, o.ModulesDir, from.Version, kernel.Version)
	}
	wanted := o.Modules
	if wanted == nil {
		wanted = DefaultModules()
	}
	modules, err := from.Resolve(wanted)
	if err != nil {
		return err
	}
	report.Version = from.Version
	for _, name := range wanted {
		if name = kmod.Canonical(name); from.Builtin(name) && !slices.Contains(report.Builtin, name) {
			report.Builtin = append(report.Builtin, name)
		}
	}
	for _, m := range modules {
		report.Modules = append(report.Modules, m.Path)
	}
	from.addTo(a, modules)
	return nil
}

// addTo adds modules and the two indexes that a loader reads.
func (m *Modules) addTo(a *Archive, modules []Module) {
	dir := path.Join("lib/modules", m.Version)
	for _, module := range modules {
		a.File(path.Join(dir, module.Path), module.Data, 0o644)
	}
	a.File(path.Join(dir, "modules.dep"), formatModulesDep(modules), 0o644)
	a.File(path.Join(dir, "modules.builtin"), m.builtinIndex, 0o644)
}

// formatModulesDep writes modules.dep as depmod does. A line without
// dependencies ends with the colon.
func formatModulesDep(modules []Module) []byte {
	paths := make(map[string]string)
	for _, m := range modules {
		paths[m.Name] = m.Path
	}
	sorted := slices.Clone(modules)
	slices.SortFunc(sorted, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	var b bytes.Buffer
	for _, m := range sorted {
		b.WriteString(m.Path + ":")
		for _, need := range m.Depends {
			b.WriteString(" " + paths[need])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func addFiles(a *Archive, files map[string]string) error {
	for name, from := range files {
		info, err := os.Stat(from)
		if err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
		data, err := readFile(from)
		if err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
		perm := uint32(0o644)
		if info.Mode()&0o111 != 0 {
			perm = 0o755 // the rest depends on the umask of whoever made the file
		}
		a.File(name, data, perm)
	}
	return nil
}

// compress gives the archive as a gzip file, whose header has neither a name
// nor a time, and the size of what is in it.
func compress(a *Archive) (data []byte, unpacked int64, err error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, 0, err
	}
	var archive bytes.Buffer
	if err := a.Write(&archive); err != nil {
		return nil, 0, err
	}
	unpacked = int64(archive.Len())
	if _, err := archive.WriteTo(z); err != nil {
		return nil, 0, fmt.Errorf("compress: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, 0, fmt.Errorf("compress: %w", err)
	}
	return packed.Bytes(), unpacked, nil
}

// readFile reads an ordinary file of bounded size.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxProgram {
		return nil, fmt.Errorf("%s is no ordinary file of at most %d MiB", name, maxProgram>>20)
	}
	return os.ReadFile(name)
}

// writeWhole writes a file beside its name and renames it.
func writeWhole(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
