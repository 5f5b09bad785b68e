package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settleTime is how long nothing must have changed before a directory is
	// read, so that a set of files that is being copied is not taken in half.
	settleTime = 100 * time.Millisecond
	// settleLimit is the longest that changes may put the reading off: a
	// revocation does not wait for whoever keeps writing.
	settleLimit = 500 * time.Millisecond
	// maxLinks is how many symbolic links are followed, as in the kernel.
	maxLinks = 40
)

// watcher sees every change of what a path leads to: of the directory, and of all
// directories and symbolic links on the way there, those that do not exist yet
// included. So it works before the directory is made, and when it is moved away or
// a link to it is turned to another one. What it does not see is a file system
// mounted over one of them.
//
// A watcher is of one moment: after a change another one is made, for what the
// path leads to then.
type watcher struct {
	notify *fsnotify.Watcher
	// names are those that matter in each directory that is watched; the others
	// come and go in /, /etc or /run for reasons of their own.
	names map[string]map[string]bool
	dir   string // where the path leads: policy files in it matter too
}

// watch starts to watch a directory, and the files in it that are links.
func watch(path string) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{notify: notify, names: make(map[string]map[string]bool)}
	if err := w.addAll(path); err != nil {
		notify.Close()
		return nil, err
	}
	return w, nil
}

// close ends the watcher.
func (w *watcher) close() { w.notify.Close() }

// addAll watches the directory that path leads to and the way there.
func (w *watcher) addAll(path string) error {
	dir, err := w.walk(path)
	if err != nil || dir == "" {
		return err
	}
	w.dir = dir
	if err := w.add(dir); err != nil {
		return err
	}
	names, err := list(dir)
	if err != nil {
		return nil // the reading will tell
	}
	links := 0
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode()&fs.ModeSymlink == 0 || !isPolicy(name) || links == MaxFiles {
			continue
		}
		links++
		if _, err := w.walk(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// walk watches each step of the way to path, links followed, and returns where it
// leads, or "" if that does not exist. Each directory is watched before it is
// looked at, so that nothing changes between the two unseen.
func (w *watcher) walk(path string) (string, error) {
	dir, steps := "/", strings.Split(path, "/")
	for links := 0; len(steps) > 0; {
		step := steps[0]
		steps = steps[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		if err := w.add(dir, step); err != nil {
			return "", err
		}
		next := filepath.Join(dir, step)
		info, err := os.Lstat(next)
		if err != nil {
			return "", nil
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			dir = next
			continue
		}
		to, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return "", nil
		}
		if filepath.IsAbs(to) {
			dir = "/"
		}
		steps = append(strings.Split(to, "/"), steps...)
	}
	return dir, nil
}

// add watches a directory for changes of the given names.
func (w *watcher) add(dir string, names ...string) error {
	known, watched := w.names[dir]
	if !watched {
		err := w.notify.Add(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			// It has gone meanwhile, which was seen in the directory above; or
			// it is one of those above that this process may pass, not read.
		case err != nil:
			return &fs.PathError{Op: "watch", Path: dir, Err: err}
		}
		known = make(map[string]bool)
		w.names[dir] = known
	}
	for _, n := range names {
		known[n] = true
	}
	return nil
}

// matters reports whether an event can change what the path leads to.
func (w *watcher) matters(e fsnotify.Event) bool {
	name := filepath.Clean(e.Name)
	dir, base := filepath.Dir(name), filepath.Base(name)
	return w.names[dir][base] || dir == w.dir && (isPolicy(base) || isMisnamed(base))
}

// wait waits until something has changed, and then until it has settled. retry, if
// not zero, is when to give up waiting for the first change.
func (w *watcher) wait(ctx context.Context, retry time.Duration) error {
	var timeout <-chan time.Time
	if retry != 0 {
		timeout = time.After(retry)
	}
	var limit <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-w.notify.Events:
			if !w.matters(e) {
				continue
			}
		case <-w.notify.Errors: // events were lost
		case <-timeout:
			return nil
		case <-limit:
			return nil
		}
		timeout = time.After(settleTime)
		if limit == nil {
			limit = time.After(settleLimit)
		}
	}
}
