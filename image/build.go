package image

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"xvsock/config"
)

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
	// Modules names what to take from there beside DefaultModules, what the
	// settings name, and what all these need. Names of drivers that are built
	// in are fine.
	Modules []string
	// Add is the payload: further files and directories.
	Add []Entry
	// Files are single files by path in the image ("etc/motd"), taken as they
	// are: nobody checks them, as they do Add.
	Files map[string]string
	// ConfigFile is put into the image as config.FilePath, once it is checked;
	// empty: none. Set are settings beside it, KEY=VALUE: a key that may repeat
	// gets one more value, another one is set anew.
	ConfigFile string
	Set        []string
	// Settings is the table of the program in the image, which says which keys
	// and services there are. Without ConfigFile and Set nothing asks it.
	Settings config.Table
}

// Build writes an initramfs. The same inputs give the same bytes. The output
// appears whole or not at all.
//
// Beside the errors of reading its inputs these are ErrProgram, ErrNotKernel,
// ErrVersion, ErrNoModule, ErrModuleCycle, ErrNoDecompressor, ErrArchivePath,
// ErrPayload and *SettingsError, wrapped.
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
	report := Report{Output: o.Output, Modules: []string{}, Builtin: []string{}, Warnings: []Finding{}}
	if err := addProgram(a, o.Program); err != nil {
		return Report{}, err
	}
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys"} {
		a.Dir(dir, 0o755)
	}
	a.Dir("tmp", 0o1777)
	// Linux opens it for PID 1 before anything is mounted.
	a.Char("dev/console", 0o600, 5, 1)
	settings, err := addSettings(a, o)
	if err != nil {
		return Report{}, err
	}
	named := slices.Concat(settings.Modules, o.Modules)
	if err := addModules(a, o, named, &report); err != nil {
		return Report{}, err
	}
	if err := addFiles(a, o.Files); err != nil {
		return Report{}, err
	}
	if err := addEntries(a, o, &report); err != nil {
		return Report{}, err
	}
	if err := checkPayload(a.tree, settings, &report); err != nil {
		return Report{}, err
	}
	report.Items, report.Directories = items(a.tree)
	return report, write(a, &report)
}

// checkPayload refuses an image whose services lack their programs, and warns of
// programs that could not run.
func checkPayload(t tree, settings config.Config, report *Report) error {
	var lacks []string
	found := servicePrograms(t, settings)
	for _, f := range found {
		if f.Level.fails() {
			lacks = append(lacks, f.String())
		} else {
			report.Warnings = append(report.Warnings, f)
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("%w: %s", ErrPayload, strings.Join(lacks, "; "))
	}
	report.Warnings = append(report.Warnings, otherPrograms(t, found)...)
	return nil
}
