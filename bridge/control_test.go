package bridge_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"xvsock/bridge"
	"xvsock/services/varlink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen makes a control socket that the test closes.
func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := bridge.ListenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestControlSocketIsForRootAndItsGroupAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "run", "xvsock", "control")
	listen(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode is %v, %v; want rw-rw----", info.Mode(), err)
	}
	if info, err = os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of the directory is %v, %v", info.Mode(), err)
	}
}

func TestAGroupIsANameOrANumber(t *testing.T) {
	for name, want := range map[string]int{"root": 0, "0": 0, "10999": 10999, "4294967294": 4294967294} {
		if got, ok := bridge.GroupID(name); !ok || got != want {
			t.Errorf("%q: %d, %v; want %d", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "no-such-group", "-1", "4294967295", "4294967296", "0x10", "1e3"} {
		if got, ok := bridge.GroupID(name); ok {
			t.Errorf("%q: %d", name, got)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := bridge.Listen(path, bridge.Access{Mode: 0o660, Group: "10999"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; os.Getuid() == 0 && gid != 10999 {
		t.Errorf("the socket's group is %d", gid)
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	// What a daemon leaves that was killed.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l := listen(t, path)
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			server := varlink.Server{}
			methods := varlink.Methods{}
			methods.Describe(varlink.Info{Version: "7"}, nil)
			err = server.Serve(t.Context(), c, methods)
		}
		served <- err
	}()
	c, err := bridge.DialControl(path)
	if err != nil {
		t.Fatal(err)
	}
	var info varlink.Info
	if err := c.Call(t.Context(), varlink.GetInfo, nil, &info); err != nil || info.Version != "7" {
		t.Errorf("GetInfo gives %+v, %v", info, err)
	}
	c.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestALiveSocketIsLeftAlone(t *testing.T) {
	for name, first := range map[string]func(*testing.T, string) net.Listener{
		"of a daemon": listen,
		"of another program": func(t *testing.T, path string) net.Listener {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "control")
			l := first(t, path)
			_, err := bridge.ListenControl(path)
			if !errors.Is(err, bridge.ErrInUse) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("a second daemon gets %v", err)
			}
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatalf("the first one's socket is gone: %v", err)
			}
			c.Close()
			l.Close()
			listen(t, path)
		})
	}
}

func TestOfDaemonsThatStartAtOnceOneServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	var mu sync.Mutex
	var all []net.Listener
	var starts sync.WaitGroup
	for range 20 {
		starts.Go(func() {
			l, err := bridge.ListenControl(path)
			if err != nil {
				if !errors.Is(err, bridge.ErrInUse) {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, l)
		})
	}
	starts.Wait()
	if len(all) != 1 {
		t.Fatalf("%d daemons serve the socket", len(all))
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Errorf("nobody answers: %v", err)
	} else {
		c.Close()
	}
	all[0].Close()
}

// A path that was meant for something else must survive.
func TestWhatIsNoSocketIsNeverRemoved(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, empty} {
		if _, err := bridge.ListenControl(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestCloseRemovesTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	l := listen(t, path)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	// A late second Close must not take the next one's.
	listen(t, path)
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Close gives %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("a second Close removed the next socket: %v", err)
	}
}

func TestListenErrorsNameThePath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a path beyond what a socket can have": filepath.Join(dir, strings.Repeat("x", 120)),
		"a file where the directory should be": filepath.Join(file, "control"),
	} {
		_, err := bridge.ListenControl(path)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDialSaysWhyNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, path := range []string{filepath.Join(dir, "none"), stale} {
		if _, err := bridge.DialControl(path); !errors.Is(err, bridge.ErrNoDaemon) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestACallEndsWithItsContextWhenTheDaemonHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	listen(t, path) // and accepts nobody
	c, err := bridge.DialControl(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, varlink.GetInfo, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Call gives %v", err)
	}
}
