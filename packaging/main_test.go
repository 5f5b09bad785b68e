// Package packaging_test looks at the Debian package as dpkg sees it.
package packaging_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if made.dir != "" {
		os.RemoveAll(made.dir)
	}
	if err := goleak.Find(); code == 0 && err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

const (
	describe = "v1.2.3-4-gabcdef0"
	version  = "1.2.3+4.gabcdef0"
	epoch    = 1700000000
)

// made is the package that the tests look at, which is made once.
var made struct {
	once sync.Once
	dir  string
	file string
	err  error
}

// file is one of the package's.
type file struct {
	*tar.Header
	data []byte
}

// debFile gives the package's file.
func debFile(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the binary and the package; run without -short")
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb here")
	}
	made.once.Do(func() {
		if made.dir, made.err = os.MkdirTemp("", "xvsock-deb-"); made.err != nil {
			return
		}
		binary := filepath.Join(made.dir, "xvsock")
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, "xvsock")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			made.err = errors.New(err.Error() + ": " + string(out))
			return
		}
		made.file, made.err = makeDeb(binary, made.dir)
	})
	if made.err != nil {
		t.Fatal(made.err)
	}
	return made.file
}

// makeDeb makes a package of the binary in dir, in a shell with further settings.
func makeDeb(binary, dir string, settings ...string) (string, error) {
	cmd := exec.Command("./deb", binary, describe, dir)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "DEB_MAINTAINER=A B <a@b.example>")
	cmd.Env = append(cmd.Env, settings...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", errors.New(err.Error() + ": " + stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// contents gives the files that the package installs, by their absolute path.
func contents(t *testing.T) map[string]file { return readTar(t, "--fsys-tarfile") }

// controls gives the package's control files.
func controls(t *testing.T) map[string]file { return readTar(t, "--ctrl-tarfile") }

// readTar reads the tar file that dpkg-deb unpacks.
func readTar(t *testing.T, which string) map[string]file {
	t.Helper()
	data, err := exec.Command("dpkg-deb", which, debFile(t)).Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]file)
	for in := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(strings.TrimPrefix(h.Name, "."), "/")] = file{h, data}
	}
}

// read gives a file of the package.
func read(t *testing.T, name string) string {
	t.Helper()
	f, ok := contents(t)[name]
	if !ok {
		t.Fatalf("the package has no %s", name)
	}
	return string(f.data)
}
