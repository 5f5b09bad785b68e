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
// it.
func readModule(file string) ([]byte, error) {
	_, form, _ := kmod.CutSuffix(file)
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decompress(f, form, maxModule)
}

// decompress reads all of r, which is compressed as kmod names the form, and
// gives at most limit bytes. xz and zstd are left to their own programs, which
// any machine with such files has or can have.
func decompress(r io.Reader, form string, limit int64) ([]byte, error) {
	switch form {
	case "gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		data, err := readBounded(z, limit)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return data, nil
	case "xz":
		return filter(r, "xz", "xz-utils", limit)
	case "zst":
		return filter(r, "zstd", "zstd", limit)
	}
	return readBounded(r, limit)
}

// unpackGzip unpacks the one gzip file that b begins with.
func unpackGzip(b []byte, limit int64) (data []byte, size int, err error) {
	r := bytes.NewReader(b) // a ByteReader, so gzip reads no byte too many
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, 0, fmt.Errorf("decompress: %w", err)
	}
	z.Multistream(false)
	if data, err = readBounded(z, limit); err != nil {
		return nil, 0, fmt.Errorf("decompress: %w", err)
	}
	return data, len(b) - r.Len(), nil
}

// unpackWith unpacks all of b by the form's own program. That does not say where
// a part ends, so nothing else may follow: the program refuses it.
func unpackWith(form string) func(b []byte, limit int64) ([]byte, int, error) {
	return func(b []byte, limit int64) ([]byte, int, error) {
		data, err := decompress(bytes.NewReader(b), form, limit)
		return data, len(b), err
	}
}

// filter decompresses r with program, which Debian ships in debianPackage.
func filter(r io.Reader, program, debianPackage string, limit int64) ([]byte, error) {
	binary, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w: install %s (Debian package %s), or decompress the file yourself",
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
	data, readErr := readBounded(stdout, limit)
	if readErr != nil {
		_ = cmd.Process.Kill() // it would write on without a reader
	}
	if err := cmd.Wait(); err != nil && readErr == nil {
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return nil, fmt.Errorf("decompress with %s: %w: %s", program, err, said)
	}
	return data, readErr
}

// readBounded reads all of r, which must not be more than limit bytes.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return data, nil
}
