package grant

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xvsock/internal/sys"
)

func TestAMissingDeviceIsNamedWithItsModule(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		config Config
		module string
	}{
		{Config{Gntalloc: missing, Gntdev: "/dev/null"}, "xen-gntalloc"},
		{Config{Gntalloc: "/dev/null", Gntdev: missing}, "xen-gntdev"},
	} {
		var record sys.Record
		c.config.Record = &record
		k, err := Open(c.config)
		if k != nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), c.module) {
			t.Errorf("%v, %v", k, err)
		}
		if held := record.Held(); len(held) != 0 {
			t.Errorf("after a failed Open: %v", held)
		}
	}
}

func TestCloseGivesBothDevicesBackAndEndsAllCalls(t *testing.T) {
	var record sys.Record
	k, err := Open(Config{Gntalloc: "/dev/null", Gntdev: "/dev/null", GuestType: guestType(t, "PV"), Record: &record})
	if err != nil {
		t.Fatal(err)
	}
	if held := record.Held(); len(held) != 2 {
		t.Errorf("held after Open: %v", held)
	}
	for range 2 {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
	if held := record.Held(); len(held) != 0 {
		t.Errorf("held after Close: %v", held)
	}
	if _, err := k.Share(1, 1, ReadOnly); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Share: %v", err)
	}
	if _, err := k.Map(1, []Ref{8}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Map: %v", err)
	}
	if err := k.Copy([]Segment{{Local: make([]byte, 1)}}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Copy: %v", err)
	}
}

func TestWhatIsNoGrantDeviceSaysSo(t *testing.T) {
	k := kernelWithoutXen(t)
	if _, err := k.Share(1, 1, ReadOnly); !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("Share: %v", err)
	}
	if _, err := k.Map(1, []Ref{8}); !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("Map: %v", err)
	}
}

func TestTheLimitIsReadAndRaised(t *testing.T) {
	path := filepath.Join(t.TempDir(), "limit")
	if err := os.WriteFile(path, []byte("1024\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := Open(Config{Gntalloc: "/dev/null", Gntdev: "/dev/null", Limit: path})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if limit, err := k.Limit(); limit != 1024 || err != nil {
		t.Errorf("limit %d, %v", limit, err)
	}
	if limit, err := k.RaiseLimit(2048); limit != 2048 || err != nil {
		t.Errorf("raised to %d, %v", limit, err)
	}
	if limit, err := k.Limit(); limit != 2048 || err != nil {
		t.Errorf("limit %d, %v", limit, err)
	}
}

// guestType is a file that says what the domain is.
func guestType(t testing.TB, kind string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "guest_type")
	if err := os.WriteFile(path, []byte(kind+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is mapped must fault once it is void, or wrong bytes pass for the peer's.
func TestOnlyAPVDomainMaps(t *testing.T) {
	for kind, want := range map[string]error{
		"PV":  syscall.ENOTTY, // /dev/null is no gntdev
		"PVH": errors.ErrUnsupported,
		"HVM": errors.ErrUnsupported,
		"":    errors.ErrUnsupported,
	} {
		k, err := Open(Config{Gntalloc: "/dev/null", Gntdev: "/dev/null", GuestType: guestType(t, kind)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Map(1, []Ref{8}); !errors.Is(err, want) {
			t.Errorf("in a domain that is %q: %v, want %v", kind, err, want)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
