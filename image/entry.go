package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// ErrPayload says that something cannot be put into an image, or that the image
// lacks what its services need.
var ErrPayload = errors.New("not in order")

// Entry is something of the payload: a file or a directory.
type Entry struct {
	// From is a file or a directory on this machine. A link is followed.
	From string
	// To is its absolute path in the image; empty: / and the last part of From.
	// A file goes into To if that ends with a slash. The content of a directory
	// goes below To; other entries may put more there.
	To string
}

// ParseEntry reads SRC or SRC:DST, as --add takes it. DST begins with a slash.
func ParseEntry(text string) (Entry, error) {
	e := Entry{From: text}
	if i := strings.LastIndex(text, ":/"); i >= 0 {
		e = Entry{From: text[:i], To: text[i+1:]}
	} else if from, to, ok := strings.Cut(text, ":"); ok {
		return Entry{}, fmt.Errorf("add %s: the path in the image, %q, does not begin with a slash", from, to)
	}
	if e.From == "" {
		return Entry{}, fmt.Errorf("add %q: no file named; use FILE or FILE:/PATH/IN/THE/IMAGE", text)
	}
	return e, nil
}

// addFiles adds single files.
func addFiles(a *Archive, files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := addFile(a, name, files[name]); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
	}
	return nil
}

// addFile adds a file, with the permissions that modeOf gives.
func addFile(a *Archive, name, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := readFile(from)
	if err != nil {
		return err
	}
	a.File(name, data, modeOf(info.Mode()))
	return a.err
}

// modeOf gives the permissions that a file has in the image: whom its owner does not
// let read it, nor will there; a secret stays one. Who may write it depends on the
// umask of whoever made it, so that does not count, and only root may. Whoever may
// read an executable file may execute it.
func modeOf(mode fs.FileMode) uint32 {
	perm := 0o600 | uint32(mode)&0o044
	if mode&0o111 != 0 {
		perm |= perm>>2&0o111 | uint32(mode)&0o111
	}
	return perm
}

// special are the bits of a mode that nothing of the payload has in an image, where
// nothing is to give anybody more rights than whom it runs as.
const special = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// stripped says if such bits were taken from a mode.
func stripped(name string, mode fs.FileMode) []Finding {
	if mode&special == 0 {
		return nil
	}
	return []Finding{{Level: Warning, Thing: "/" + name, Reason: fmt.Sprintf(
		"what it was added from has mode %v, and in the image it is neither setuid, setgid nor sticky", mode)}}
}
