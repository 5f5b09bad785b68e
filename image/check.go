package image

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"xvsock/config"
)

// CheckOptions says what Check looks at.
type CheckOptions struct {
	// File is the initramfs: newc archives, plain or compressed by gzip, xz or
	// zstd, one after the other as the kernel reads them.
	File string
	// Kernel is the bzImage that the domain will boot; empty: not known.
	Kernel string
	// ModulesDir is lib/modules/VERSION of that kernel, for what it has built
	// in; empty: not known.
	ModulesDir string
	// KernelConfig is the configuration of that kernel; empty: config-VERSION
	// beside Kernel, if it is there.
	KernelConfig string
	// Settings is the table of the program in the image.
	Settings config.Table
}

// Check reads an initramfs and says what it lacks to be a service domain's with a
// given kernel. What cannot be found out is a Finding too. The file may be
// hostile: it is unpacked into bounded memory only.
//
// The error is one of reading: ErrArchive, ErrNoDecompressor, ErrNotKernel,
// ErrKernelConfig, ErrVersion or one of the file system, wrapped.
func Check(o CheckOptions) (CheckReport, error) {
	data, err := readFile(o.File)
	if err != nil {
		return CheckReport{}, fmt.Errorf("check image: %w", err)
	}
	u, err := unpack(data, maxUnpacked)
	if err != nil {
		return CheckReport{}, fmt.Errorf("check image %s: %w", o.File, err)
	}
	k, err := readKernelFacts(o)
	if err != nil {
		return CheckReport{}, fmt.Errorf("check image: %w", err)
	}
	c := &checker{image: u, kernel: k, report: CheckReport{File: o.File, Builtin: []string{}, Modules: []string{}}}
	c.programs()
	settings := c.settings(o.Settings)
	c.options(u.forms)
	c.modules(settings.Modules)
	c.remarks()
	return c.finish(), nil
}

// maxFindings bounds a report: a hostile file can name many things.
const maxFindings = 1000

// checker collects what there is to say about an image.
type checker struct {
	image  *unpacker
	kernel kernelFacts
	report CheckReport
	unsaid int // findings beyond maxFindings
}

// say adds a finding.
func (c *checker) say(level Level, thing, reason, fix string) {
	c.found(Finding{level, thing, reason, fix})
}

func (c *checker) found(list ...Finding) {
	n := min(len(list), maxFindings-len(c.report.Findings))
	c.report.Findings = append(c.report.Findings, list[:n]...)
	c.unsaid += len(list) - n
}

// finish gives the report, what is missing first.
func (c *checker) finish() CheckReport {
	c.report.Version = c.kernel.version
	sorted := []Finding{}
	for _, level := range []Level{Missing, Wrong, Warning, Unchecked} {
		for _, f := range c.report.Findings {
			if f.Level == level {
				sorted = append(sorted, f)
			}
		}
	}
	if c.unsaid > 0 {
		sorted = append(sorted, Finding{Wrong, "image", fmt.Sprintf("%d more findings", c.unsaid), ""})
	}
	c.report.Findings = sorted
	return c.report
}

// programs checks PID 1 and its other names.
func (c *checker) programs() {
	const build = "build the image with xvsock image build"
	t := c.image.tree
	switch n := t.find("init"); {
	case n == nil:
		c.say(Missing, "/init", "the kernel runs it as PID 1, and it is not in the image", build)
	case !n.executable():
		c.say(Wrong, "/init", "it is not an executable file", build)
	default:
		if err := checkProgram(n.data); err != nil {
			c.say(Wrong, "/init", err.Error(), build)
		}
	}
	for _, order := range []string{"poweroff", "reboot"} {
		if f := runnable(t, "/sbin/"+order); f.Reason != "" {
			c.say(f.Level, f.Thing, "the kernel runs it for "+order+", and "+f.Reason, "make it a link to /init")
		}
	}
}

// settings checks the file with the settings and what it names, and gives what it
// comes to.
func (c *checker) settings(table config.Table) config.Config {
	none := config.Config{}
	n := c.image.tree.find(tomlPath)
	if n == nil {
		return none
	}
	if !n.is(unix.S_IFREG) {
		c.say(Wrong, config.FilePath, "it is no file", "")
		return none
	}
	source, problems, err := config.Text(config.FilePath, bytes.NewReader(n.data))
	if err != nil {
		return none // of memory there are no errors
	}
	settings, more := table.Resolve(source)
	for _, p := range append(problems, more...) {
		c.say(Wrong, p.Source, strings.TrimPrefix(p.String(), p.Source+": "), "")
	}
	c.found(servicePrograms(c.image.tree, settings)...)
	return settings
}

// options checks what the kernel was built with, where that is known. forms are
// how the image is compressed.
func (c *checker) options(forms []string) {
	k := c.kernel.config
	if k == nil {
		return // modules says what matters: the rest every distribution's kernel has
	}
	for _, need := range needed() {
		if !slices.ContainsFunc(need.options, k.has) {
			c.say(Missing, strings.Join(need.options, " or "), "not built into the kernel: "+need.reason, "take another kernel")
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(forms))) {
		if option := "CONFIG_RD_" + strings.ToUpper(name); !k.has(option) {
			c.say(Missing, option, "not built into the kernel: the image is compressed with "+name, "take another kernel, or compress it otherwise")
		}
	}
	if !k.has("CONFIG_HVC_XEN") {
		c.say(Warning, "CONFIG_HVC_XEN", "not built into the kernel: the domain says nothing on a console", "")
	}
}

// remarks says what is odd about the archive.
func (c *checker) remarks() {
	if n := c.image.tree["dev/console"]; n == nil || !n.is(unix.S_IFCHR) || n.major != 5 || n.minor != 1 {
		c.say(Warning, "/dev/console", "not in the image: what fails before /dev is mounted is not seen", "")
	}
	for _, text := range c.image.dropped {
		c.say(Warning, "a file", "the kernel passes over "+text, "")
	}
	if more := c.image.lost - len(c.image.dropped); more > 0 {
		c.say(Warning, "files", fmt.Sprintf("the kernel passes over %d more", more), "")
	}
	c.found(otherPrograms(c.image.tree, c.report.Findings)...)
}
