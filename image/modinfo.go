package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"

	"xvsock/kmod"
)

// maxModinfo bounds the .modinfo section that is looked at: the largest of
// Linux 6.1 (amdgpu's, full of firmware names) has some 100 KiB.
const maxModinfo = 4 << 20

// errNoModinfo says that a file is not a kernel module.
var errNoModinfo = errors.New("no .modinfo section: not a kernel module")

// modinfo is what a module says about itself (the .modinfo section that
// MODULE_INFO and modpost fill).
type modinfo struct {
	// name is the module's name as /proc/modules shows it; modules built
	// before Linux 4.14 do not carry it.
	name string
	// release is the first word of vermagic: the kernel it was built for.
	release string
	// depends names the modules it needs, without what is built in.
	depends []string
}

// readModinfo reads the .modinfo section of the ELF object r.
func readModinfo(r io.ReaderAt) (modinfo, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return modinfo{}, fmt.Errorf("read ELF: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil || section.Type == elf.SHT_NOBITS {
		return modinfo{}, errNoModinfo
	}
	if section.Size > maxModinfo {
		return modinfo{}, fmt.Errorf("read .modinfo: %d bytes are too many", section.Size)
	}
	data, err := section.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("read .modinfo: %w", err)
	}
	return parseModinfo(data)
}

// parseModinfo reads key=value records, each ended by NUL. Keys it does not
// know are passed over: modules carry aliases, parameters and signatures.
func parseModinfo(data []byte) (modinfo, error) {
	var m modinfo
	for record := range bytes.SplitSeq(data, []byte{0}) {
		key, value, ok := strings.Cut(string(record), "=")
		if !ok {
			continue
		}
		switch key {
		case "name":
			m.name = value
		case "vermagic":
			m.release, _, _ = strings.Cut(value, " ")
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name == "" {
					continue
				}
				if !kmod.IsName(name) {
					return modinfo{}, fmt.Errorf("parse .modinfo: depends names %q, which is no module name", name)
				}
				m.depends = append(m.depends, name)
			}
		}
	}
	return m, nil
}
