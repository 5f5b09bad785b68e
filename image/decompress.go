package image

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"xvsock/kmod"
)

// maxModule bounds one module, decompressed. The largest of a distribution
// kernel are near 20 MiB.
const maxModule = 128 << 20

// ErrNoDecompressor says that the program which unpacks a module is missing
// on this machine.
var ErrNoDecompressor = errors.New("no program to decompress it")

// readModule reads the module in file and decompresses it. PID 1 so needs no
// decompressor, and the initramfs, compressed as a whole, is the smaller for
// it. xz and zstd are left to their own programs, which any machine with such
// modules has or can have.
func readModule(file string) ([]byte, error) {
	_, form, _ := kmod.CutSuffix(file)
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch form {
	case "gz":
		return gunzip(f)
	case "xz":
		return filter(f, "xz", "xz-utils")
	case "zst":
		return filter(f, "zstd", "zstd")
	}
	return readBounded(f)
}

func gunzip(r io.Reader) ([]byte, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	data, err := readBounded(z)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return data, nil
}

// filter decompresses r with program, which Debian ships in debianPackage.
func filter(r io.Reader, program, debianPackage string) ([]byte, error) {
	binary, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w: install %s (Debian package %s), or decompress the modules yourself",
			ErrNoDecompressor, program, debianPackage)
	}
	cmd := exec.Command(binary, "-dc")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = r, &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	data, readErr := readBounded(stdout)
	if readErr != nil {
		_ = cmd.Process.Kill() // it would write on without a reader
	}
	if err := cmd.Wait(); err != nil && readErr == nil {
		return nil, fmt.Errorf("decompress with %s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return data, readErr
}

// readBounded reads all of r, which must not be more than maxModule bytes.
func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxModule {
		return nil, fmt.Errorf("larger than %d MiB", maxModule>>20)
	}
	return data, nil
}
