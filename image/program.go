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

// checkProgram refuses what the kernel could not start: there is no dynamic
// linker in the image, and nothing for another architecture.
func checkProgram(data []byte) error {
	interpreter, err := readProgram(data)
	if err != nil {
		return err
	}
	if isScript(data) {
		return fmt.Errorf("%w: a script, not an ELF file", ErrProgram)
	}
	if interpreter != "" {
		return fmt.Errorf("%w: it is linked dynamically; build with CGO_ENABLED=0", ErrProgram)
	}
	return nil
}

// readProgram gives the path of the interpreter that a program needs, "" if it
// is static. The error wraps ErrProgram for what x86-64 Linux does not run.
// A script is for an interpreter, too.
func readProgram(data []byte) (interpreter string, err error) {
	if isScript(data) {
		return scriptInterpreter(data[2:])
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("%w: not an ELF file", ErrProgram)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return "", fmt.Errorf("%w: it is for %s, not EM_X86_64; build with GOARCH=amd64", ErrProgram, f.Machine)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return "", fmt.Errorf("%w: an ELF file, but no program", ErrProgram)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		text, err := readBounded(p.Open(), maxPath)
		name := strings.TrimRight(string(text), "\x00")
		if err != nil || name == "" {
			return "", fmt.Errorf("%w: it is linked dynamically, and does not say by what", ErrProgram)
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
		return "", fmt.Errorf("%w: a script that names no interpreter", ErrProgram)
	}
	return words[0], nil
}
