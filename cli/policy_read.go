package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"xvsock/daemon"
	"xvsock/manager/policy"
	"xvsock/manager/policy/source"
)

// checkDirectory refuses what is there and is no directory.
func checkDirectory(path string) error {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is no directory: give the one that the policy files are in", path)
	}
	return nil
}

// loadPolicy reads a directory of rules. A mistake in one is told with the file as
// the caller finds it.
func loadPolicy(dir string) (source.Loaded, error) {
	if err := checkDirectory(dir); err != nil {
		return source.Loaded{}, &setupError{err}
	}
	l, err := source.LoadDir(dir)
	var bad *policy.Error
	if errors.As(err, &bad) && bad.File != "" {
		bad.File = filepath.Join(dir, bad.File)
	}
	return l, err
}

// parseRules parses rules that a backend has told, each where it stands there.
func parseRules(rules []daemon.PolicyRule) (*policy.Set, error) {
	const maxLine = 1 << 20
	var files []policy.File
	for len(rules) > 0 {
		file, line := rules[0].File, 1
		var text strings.Builder
		for ; len(rules) > 0 && rules[0].File == file; rules = rules[1:] {
			r := rules[0]
			if r.Line < line || r.Line > maxLine {
				return nil, fmt.Errorf("%s:%d: not in order", r.File, r.Line)
			}
			text.WriteString(strings.Repeat("\n", r.Line-line) + r.Text + "\n")
			line = r.Line + 1
		}
		files = append(files, policy.File{Name: file, Text: text.String()})
	}
	return policy.Parse(files)
}
