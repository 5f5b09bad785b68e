package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"xvsock/manager/policy"
)

// Bounds on a source. A directory is the toolstack's own; they keep a wrong path
// from filling the memory.
const (
	MaxFiles   = 256     // policy files in a directory
	MaxText    = 1 << 20 // bytes of all of them, or of all nodes
	maxEntries = 4096    // names in a directory, of whatever
)

// suffix is how the names of policy files end.
const suffix = ".policy"

// LoadDir reads and parses the policy files of a directory: NN-name.policy, in byte
// order of their names. It wants at least the directory: if there is none, the
// error wraps fs.ErrNotExist. A set that does not parse is a *policy.Error, one
// over the bounds ErrTooBig. Files are named in rules and errors by their names
// in the directory.
func LoadDir(path string) (Loaded, error) {
	r, err := readDir(path)
	if err != nil {
		return Loaded{}, err
	}
	if r.absent {
		return Loaded{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return r.load()
}

// isPolicy reports whether name is that of a policy file: two digits, a dash, more.
func isPolicy(name string) bool {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	return strings.HasSuffix(name, suffix) && len(name) > len("00-"+suffix) && digit(name[0]) && digit(name[1]) && name[2] == '-'
}

// isMisnamed reports whether name looks like that of a policy file, and is not.
// What editors leave behind begins with a dot or a hash.
func isMisnamed(name string) bool {
	return strings.HasSuffix(name, suffix) && !isPolicy(name) && !strings.ContainsAny(name[:1], ".#")
}

// readDir reads the policy files of a directory, of one moment: it reads until two
// readings in a row agree. A set that is half of before and half of after a change
// could allow what neither allows.
func readDir(path string) (reading, error) {
	return agreed(func() (reading, error) { return readOnce(path) })
}

// agreed calls read until two results in a row are the same; in the end the last
// one counts, as there will be news of another change.
func agreed(read func() (reading, error)) (r reading, err error) {
	const tries = 5
	last := ""
	for range tries {
		r, err = read()
		result := r.version()
		if err != nil {
			result = err.Error()
		}
		if result == last {
			break
		}
		last = result
	}
	return r, err
}

// readOnce reads the policy files of a directory.
func readOnce(path string) (reading, error) {
	// A link that is turned to another directory meanwhile changes nothing here.
	dir, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return reading{absent: true}, nil
	}
	if err != nil {
		return reading{}, err
	}
	names, err := list(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return reading{absent: true}, nil
	}
	if err != nil {
		return reading{}, err
	}
	var r reading
	room := int64(MaxText)
	for _, name := range names {
		if isMisnamed(name) {
			r.skipped = append(r.skipped, name)
		}
		if !isPolicy(name) {
			continue
		}
		if len(r.files) == MaxFiles {
			return reading{}, fmt.Errorf("%w: more than %d files", ErrTooBig, MaxFiles)
		}
		text, err := readFile(filepath.Join(dir, name), room)
		if err != nil {
			return reading{}, err
		}
		room -= int64(len(text))
		r.files = append(r.files, policy.File{Name: name, Text: text})
	}
	return r, nil
}

// list returns the names in a directory in byte order.
func list(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > maxEntries {
		return nil, fmt.Errorf("%w: more than %d names in %s", ErrTooBig, maxEntries, dir)
	}
	slices.Sort(names)
	return names, nil
}

// readFile reads a regular file of at most room bytes.
func readFile(name string, room int64) (string, error) {
	// Opening a pipe waits for its other end, unless told not to.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	text, err := io.ReadAll(io.LimitReader(f, room+1))
	if err != nil {
		return "", err
	}
	if int64(len(text)) > room {
		return "", fmt.Errorf("%w: more than %d bytes", ErrTooBig, MaxText)
	}
	return string(text), nil
}
