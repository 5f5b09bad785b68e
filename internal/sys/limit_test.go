package sys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func limitFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "limit")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRaiseLimit(t *testing.T) {
	for _, c := range []struct {
		name       string
		text       string
		want, have int
		after      string
	}{
		{"a lower limit is raised", "1024\n", 4096, 4096, "4096\n"},
		{"a higher limit stays", "4096\n", 1024, 4096, "4096\n"},
		{"the same limit stays", "1024\n", 1024, 1024, "1024\n"},
		{"a negative limit counts as none", "-1\n", 16, 16, "16\n"},
		{"a longer text leaves nothing behind", "-10000000\n", 64, 64, "64\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := limitFile(t, c.text)
			have, err := RaiseLimit(path, c.want)
			if err != nil || have != c.have {
				t.Errorf("limit is %d, %v, want %d", have, err, c.have)
			}
			if text, _ := os.ReadFile(path); string(text) != c.after {
				t.Errorf("file holds %q, want %q", text, c.after)
			}
		})
	}
}

func TestALimitThatMayNotBeRaisedIsReportedAsItIs(t *testing.T) {
	const path = "/proc/sys/kernel/ngroups_max" // a number that even root may only read
	before, err := ReadLimit(path)
	if err != nil {
		t.Fatal(err)
	}
	limit, err := RaiseLimit(path, before+1)
	if !errors.Is(err, os.ErrPermission) || limit != before {
		t.Errorf("limit is %d, %v, want %d and a refusal", limit, err, before)
	}
}

func TestAModuleThatIsNotLoadedHasNoLimit(t *testing.T) {
	if _, err := RaiseLimit(filepath.Join(t.TempDir(), "limit"), 5); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func FuzzParseLimit(f *testing.F) {
	for _, text := range []string{"1024\n", "1024", "-1\n", "", "\n", "1024\n\n", "0x10", "99999999999", "+5", " 5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, err := parseLimit(text)
		if limit < 0 || limit > 1<<31-1 {
			t.Errorf("%q is %d", text, limit)
		}
		if err != nil && (limit != 0 || !errors.Is(err, ErrLimit)) {
			t.Errorf("%q: %d, %v", text, limit, err)
		}
	})
}
