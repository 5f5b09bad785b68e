package image_test

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const release = "6.1.0-9-test"

// elfFile makes a small x86-64 ELF file with one section of that name, and a
// program header that names an interpreter, if there is one.
func elfFile(kind elf.Type, section string, content []byte, interpreter string) []byte {
	names := "\x00" + section + "\x00.shstrtab\x00"
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(kind), Machine: uint16(elf.EM_X86_64), Version: 1,
		Ehsize: 64, Phentsize: 56, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	var progs []elf.Prog64
	at := uint64(64)
	if interpreter != "" {
		interpreter += "\x00"
		at += 56
		progs = append(progs, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: at, Filesz: uint64(len(interpreter))})
		header.Phoff, header.Phnum = 64, 1
		at += uint64(len(interpreter))
	}
	header.Shoff = at + uint64(len(content)+len(names))
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(content))},
		{Name: uint32(len(section) + 2), Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(content)), Size: uint64(len(names))},
	}
	var b bytes.Buffer
	for _, part := range []any{header, progs, []byte(interpreter), content, []byte(names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // a fixed-size value into memory
		}
	}
	return b.Bytes()
}

// module makes a module's file for the test release.
func module(depends ...string) []byte {
	info := "license=GPL\x00depends=" + strings.Join(depends, ",") + "\x00vermagic=" + release + " SMP mod_unload \x00"
	return elfFile(elf.ET_REL, ".modinfo", []byte(info), "")
}

// program makes something that can be PID 1.
func program() []byte { return elfFile(elf.ET_EXEC, ".text", []byte("program"), "") }

// interpreter is the dynamic linker of Debian.
const interpreter = "/lib64/ld-linux-x86-64.so.2"

// dynamicProgram makes a program that is linked dynamically.
func dynamicProgram() []byte { return elfFile(elf.ET_DYN, ".text", []byte("program"), interpreter) }

// bzImage makes a kernel's header, with a version text and a payload.
func bzImage(version string) []byte {
	b := make([]byte, 4096)
	b[0x1f1] = 3 // 4 sectors of setup
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x020f)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x400)
	copy(b[0x600:], version+" (someone@host) #1 SMP\x00")
	binary.LittleEndian.PutUint32(b[0x248:], 0x100)
	binary.LittleEndian.PutUint32(b[0x24c:], 64)
	return b
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree writes files below a new directory and gives the directory.
func tree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// modulesTree is a directory as an unpacked kernel package has it: modules,
// modules.builtin, and no modules.dep.
func modulesTree(t *testing.T) map[string][]byte {
	t.Helper()
	in := "lib/modules/" + release + "/"
	return map[string][]byte{
		in + "kernel/drivers/xen/xen-evtchn.ko":      module(),
		in + "kernel/drivers/xen/xen-gntdev.ko":      module(),
		in + "kernel/drivers/xen/xen-gntalloc.ko.gz": gzipped(t, module()),
		in + "kernel/net/vsock.ko":                   module(),
		in + "kernel/net/virtio_common.ko":           module("vsock"),
		in + "kernel/vhost/vhost_iotlb.ko":           module(),
		in + "kernel/vhost/vhost.ko":                 module("vhost_iotlb"),
		in + "kernel/vhost/vhost_vsock.ko":           module("vhost", "virtio_common", "vsock", "builtin-one"),
		in + "kernel/ring/one.ko":                    module("two"),
		in + "kernel/ring/two.ko":                    module("one"),
		in + "kernel/lonely.ko":                      module("not_there"),
		in + "modules.builtin":                       []byte("kernel/lib/builtin-one.ko\nkernel/drivers/xen/xenfs.ko\n"),
	}
}
