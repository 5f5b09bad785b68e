package cli

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Of many that find a socket that nobody listens at any more, one has it.
func TestOneOfManyReplacesASocketThatNobodyListensAt(t *testing.T) {
	dir := t.TempDir()
	for round := range 200 {
		path := filepath.Join(dir, "s")
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		stale.Close()
		var all sync.WaitGroup
		var mu sync.Mutex
		var have []net.Listener
		for range 8 {
			all.Go(func() {
				l, err := (&unixEnd{path, 0o600}).listen(t.Context())
				if err == nil {
					mu.Lock()
					have = append(have, l)
					mu.Unlock()
				}
			})
		}
		all.Wait()
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		if len(have) != 1 || err != nil {
			t.Errorf("round %d: %d listen at one path; to connect gives %v", round, len(have), err)
		}
		for _, l := range have {
			l.Close()
		}
		if t.Failed() {
			return
		}
		os.Remove(path)
	}
}

func TestTheFileOfAListenerIsGoneWhenAnyCloseReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 100 {
		l, err := (&unixEnd{path, 0o600}).listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				l.Close()
				if _, err := os.Lstat(path); err == nil {
					t.Error("the file is there")
				}
			})
		}
		both.Wait()
	}
}

func TestWhatCannotBeListenedAtIsNamed(t *testing.T) {
	dir := t.TempDir()
	file, held := filepath.Join(dir, "file"), filepath.Join(dir, "held")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", held) // by a program that knows no lock
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, want := range map[string]string{
		file:                                     "something that is no socket is there",
		held:                                     "another program listens at " + held + ": end it, or use another path",
		filepath.Join(dir, "none", "s"):          "no such file or directory",
		filepath.Join(dir, "no", "\x00"):         "",
		"/" + strings.Repeat("x", maxUnixPath-1): "longer than",
	} {
		if l, err := (&unixEnd{path, fs.FileMode(0o600)}).listen(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, %v; want %q", path, l, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("the directory was made")
	}
}
