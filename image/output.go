package image

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxFile bounds every file that goes into an image, and the image, in bytes.
const maxFile = 256 << 20

// readFile reads an ordinary file of bounded size.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name) // to open a fifo would wait
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no ordinary file of at most %d MiB", name, maxFile>>20)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, maxFile)
}

// write writes the archive to the output that the report names, and notes size
// and hash there.
func write(a *Archive, report *Report) error {
	return writeWhole(report.Output, func(w io.Writer) error {
		hash, packed, plain := sha256.New(), counter(0), counter(0)
		// Its header has neither a name nor a time.
		z, err := gzip.NewWriterLevel(io.MultiWriter(w, hash, &packed), gzip.BestCompression)
		if err != nil {
			return err
		}
		if err := a.Write(io.MultiWriter(z, &plain)); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
		report.Size, report.Unpacked = int64(packed), int64(plain)
		report.SHA256 = hex.EncodeToString(hash.Sum(nil))
		return nil
	})
}

// counter counts what is written to it, in bytes.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// writeWhole writes a file beside its name and renames it.
func writeWhole(name string, content func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = content(f)
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
