package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrProgram says that a program cannot be PID 1 of a service domain.
var ErrProgram = errors.New("not a static program for this domain")

// links are the names under sbin that the kernel and people know PID 1 by.
var links = [...]string{"poweroff", "reboot", "xvsock"}

// addProgram adds PID 1 and its other names.
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
	for _, name := range links {
		a.Link("sbin/"+name, "/init")
	}
	return nil
}

// checkProgram refuses what cannot be PID 1, which is to need nothing else.
func checkProgram(data []byte) error {
	if reason, fix := unfit(nil, data); reason != "" {
		return fmt.Errorf("%w: %s; %s", ErrProgram, reason, fix)
	}
	return nil
}

// unfit says what keeps the kernel from running a program: it is for another
// machine, or its interpreter, which a dynamic linker is one of, is not in the
// image that t is. Without an image it must not have one.
func unfit(t tree, data []byte) (reason, fix string) {
	interpreter, err := readProgram(data)
	switch {
	case err != nil:
		return err.Error(), "build it for Linux on x86-64 (Go: GOARCH=amd64)"
	case interpreter == "" || t.find(interpreter).runs():
		return "", ""
	case isScript(data) && t == nil:
		return "it is a script", "take an ELF file"
	case isScript(data):
		return fmt.Sprintf("its interpreter %.200q is not in the image", interpreter), "add that too"
	case t == nil:
		return "it is linked dynamically", "link it statically (Go: CGO_ENABLED=0)"
	}
	return fmt.Sprintf("it is linked dynamically, and its interpreter %.200q is not in the image", interpreter),
		"link it statically (Go: CGO_ENABLED=0), or add that and its libraries"
}

// runs reports whether n is there and executable.
func (n *node) runs() bool { return n != nil && n.executable() }

// readProgram gives the path of the interpreter that a program needs, "" if it
// is static. A script is for an interpreter, too. The error says what x86-64 Linux
// does not run.
func readProgram(data []byte) (interpreter string, err error) {
	if isScript(data) {
		return scriptInterpreter(data[2:])
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", errors.New("it is not an ELF file")
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return "", fmt.Errorf("it is for %s, not EM_X86_64", f.Machine)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return "", errors.New("it is an ELF file, but no program")
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		text, err := readBounded(p.Open(), maxPath)
		name := strings.TrimRight(string(text), "\x00")
		if err != nil || name == "" {
			return "", errors.New("it is linked dynamically, and does not say by what")
		}
		return name, nil
	}
	return "", nil
}

// isScript reports whether Linux would give the file to an interpreter.
func isScript(data []byte) bool { return bytes.HasPrefix(data, []byte("#!")) }

// maxScriptLine is how much of a script's first line Linux looks at
// (BINPRM_BUF_SIZE).
const maxScriptLine = 256

// scriptInterpreter gives the program that a line behind #! names.
func scriptInterpreter(data []byte) (string, error) {
	line, _, _ := bytes.Cut(data[:min(len(data), maxScriptLine)], []byte{'\n'})
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return "", errors.New("it is a script that names no interpreter")
	}
	return words[0], nil
}
