package metrics

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatProcDoesNotTellIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		name, statm string
		want        bool
	}{
		{"no file", "", false},
		{"a file", "2000 300 200 1 0 99 0\n", true},
		{"one word", "2000\n", false},
		{"no number", "2000 x\n", false},
		{"a negative number", "2000 -1\n", false},
	} {
		dir := t.TempDir()
		if c.statm != "" {
			if err := os.WriteFile(filepath.Join(dir, "statm"), []byte(c.statm), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var w Writer
		process(&w, dir)
		text := string(w.Text())
		if strings.Contains(text, "\nprocess_resident_memory_bytes ") != c.want || strings.Contains(text, "process_open_fds") || w.Err() != nil {
			t.Errorf("%s: %v\n%s", c.name, w.Err(), text)
		}
	}
}
