package payload

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"xvsock/services"
)

// ErrProgram says that a program cannot be run as it is.
var ErrProgram = errors.New("not a program that can be run here")

// fault is an ErrProgram with one clear line.
type fault struct{ line string }

func (f *fault) Error() string        { return f.line }
func (f *fault) Is(target error) bool { return target == ErrProgram }

func faulty(format string, args ...any) error { return &fault{fmt.Sprintf(format, args...)} }

// checkProgram returns an error that wraps ErrProgram, and names the file and the
// remedy, unless the user can run the program. The kernel would say less, and say it
// only to the first peer.
func checkProgram(args []string, uid, gid uint32) error {
	if len(args) == 0 || !filepath.IsAbs(args[0]) {
		return faulty("%q: the program is no absolute path", strings.Join(args, " "))
	}
	path := args[0]
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return faulty("%s: no such file; add it with xvsock image build --add", path)
	case services.Shortage(err):
		return nil // it says nothing of the program
	case err != nil:
		return faulty("%v", err)
	case info.IsDir():
		return faulty("%s: a directory, not a program", path)
	case !info.Mode().IsRegular():
		return faulty("%s: no regular file", path)
	case info.Mode().Perm()&0o111 == 0:
		return faulty("%s: not executable (mode %#o); make it so before it is added", path, info.Mode().Perm())
	case !mayExecute(info, uid, gid):
		return faulty("%s: uid %d, gid %d may not execute it (mode %#o)", path, uid, gid, info.Mode().Perm())
	}
	return checkFormat(path)
}

// checkFormat looks at what the kernel would look at (binfmt_elf, binfmt_script).
func checkFormat(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) || services.Shortage(err) {
		return nil // it may be run all the same
	}
	if err != nil {
		return faulty("%v", err)
	}
	defer f.Close()
	first := make([]byte, 256)
	n, err := io.ReadFull(f, first)
	if first = first[:n]; err != nil && n == 0 {
		return faulty("%s: an empty file", path)
	}
	if script, ok := bytes.CutPrefix(first, []byte("#!")); ok {
		line, _, _ := bytes.Cut(script, []byte("\n"))
		if words := bytes.Fields(line); len(words) > 0 {
			return checkInterpreter(path, string(words[0]))
		}
	}
	if !bytes.HasPrefix(first, []byte(elf.ELFMAG)) {
		return faulty("%s: neither an ELF program nor a script that begins with #!", path)
	}
	if err := checkMachine(path, first); err != nil {
		return err
	}
	return checkLoader(path, f)
}

// checkMachine compares the beginning of an ELF file with that of this process.
func checkMachine(path string, first []byte) error {
	const ident, machine, header = 4, 18, 52 // bytes that name the class, e_machine, the smaller Elf32_Ehdr
	if len(first) < header {
		return faulty("%s: a broken ELF file of %d bytes", path, len(first))
	}
	self := make([]byte, header)
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil // the kernel will say it
	}
	defer f.Close()
	if _, err := io.ReadFull(f, self); err != nil || bytes.Equal(first[ident:ident+2], self[ident:ident+2]) &&
		bytes.Equal(first[machine:machine+2], self[machine:machine+2]) {
		return nil
	}
	return faulty("%s: built for another machine (ELF class %d, machine %d; this domain is %d, %d)", path,
		first[ident], binary.LittleEndian.Uint16(first[machine:]), self[ident], binary.LittleEndian.Uint16(self[machine:]))
}

// checkLoader looks for the loader of a dynamic program. That it is not there is a
// common fault, of which the kernel says only that the program is not there.
func checkLoader(path string, f *os.File) error {
	program, err := elf.NewFile(f)
	if err != nil {
		return nil // packed programs are strange, and run
	}
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name, err := bufio.NewReader(io.LimitReader(segment.Open(), 4096)).ReadString(0)
		if err == nil {
			return checkInterpreter(path, strings.TrimSuffix(name, "\x00"))
		}
	}
	return nil
}

func checkInterpreter(path, interpreter string) error {
	if _, err := os.Stat(interpreter); errors.Is(err, fs.ErrNotExist) {
		return faulty("%s: needs %s, which is not there; link it statically, or add that too", path, interpreter)
	}
	return nil
}
