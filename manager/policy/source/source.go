// Package source is where a connection manager's rules come from: a directory of
// files, or nodes in xenstore for a manager in a domain without a disk (design,
// section 6, "Rules"). A manager has one source.
//
// Changes apply live. A set is taken whole or refused whole: while the newest one
// is refused the last good one stays in force, and State says why, where and since
// when. Before the first good set nothing is allowed. A source that is not there,
// no directory or no nodes, is a set without rules: nothing is allowed either, so
// that a manager that was running and one that was started again agree.
//
// When nothing changes nothing runs: both sources wait for the kernel or xenstored
// to tell them.
package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"xvsock/manager/policy"
)

// retryPause is when a source that could not be read, or whose changes cannot be
// seen, is looked at again. A set that was read and refused is not: it waits for a
// change.
const retryPause = 5 * time.Second

// ErrTooBig says that a source holds more than the bounds of this package.
var ErrTooBig = errors.New("policy is too big")

// Loaded is a set of rules that was read and parsed.
type Loaded struct {
	Set     *policy.Set
	Version string    // of the content, in hexadecimal: the same for the same files
	At      time.Time // when it was read
	Skipped []string  // files that end in .policy and are not named as NN-name.policy
}

// State says what is in force and what is wrong.
type State struct {
	Source  string    // the directory, or the node that the rules are below
	Version string    // of the set in force; empty: none was taken yet, nothing is allowed
	Rules   int       // in the set in force
	Since   time.Time // when the set in force was taken
	// Error is why the newest set was refused (file:line: reason), why it could
	// not be read, or why changes are seen late; empty: nothing is wrong.
	Error        string
	RefusedSince time.Time // when Error began; zero: nothing is wrong
}

// reading is what a source held at one moment.
type reading struct {
	files   []policy.File
	skipped []string
	absent  bool // there is no such directory, or no such nodes
}

// version names the content of r.
func (r reading) version() string {
	const shown = 6 // bytes: enough to tell two sets apart by eye
	h := sha256.New()
	for _, f := range r.files {
		// Lengths first, so that text cannot move from one file to the next.
		fmt.Fprintf(h, "%d %d\n%s%s", len(f.Name), len(f.Text), f.Name, f.Text)
	}
	if r.absent {
		h.Write([]byte("absent"))
	}
	return hex.EncodeToString(h.Sum(nil)[:shown])
}

// load parses what was read.
func (r reading) load() (Loaded, error) {
	set, err := policy.Parse(r.files)
	if err != nil {
		return Loaded{}, err
	}
	return Loaded{Set: set, Version: r.version(), At: time.Now(), Skipped: r.skipped}, nil
}

// keeper is what both sources share: it takes what was read or refuses it, and
// remembers which.
type keeper struct {
	log   *slog.Logger
	ready chan struct{} // closed after the first look, whatever it found

	once    sync.Once
	skipped string // as it was logged last; of the goroutine that runs the source

	mu    sync.Mutex
	state State
}

// newKeeper returns the keeper of the source of that name. log may be nil.
func newKeeper(name string, log *slog.Logger) *keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &keeper{log: log.With("source", name), ready: make(chan struct{}), state: State{Source: name}}
}

// State says what is in force now, and what is wrong.
func (k *keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// Ready is closed when the source was looked at for the first time, and a good set
// was applied. Whoever enforces rules waits for it: before, all would look denied.
func (k *keeper) Ready() <-chan struct{} { return k.ready }

// take applies what was read, unless it is in force already or bad. late is why
// changes are not seen at once, or nil; err why nothing could be read. It returns
// when to look again although nothing is known to have changed; 0: never.
func (k *keeper) take(r reading, err, late error, apply func(*policy.Set)) (retry time.Duration) {
	defer k.once.Do(func() { close(k.ready) })
	if err != nil || late != nil {
		retry = retryPause
	}
	var l Loaded
	if err == nil {
		l, err = r.load()
	}
	if err != nil {
		k.complain("policy refused, the last good one stays", err)
		return retry
	}
	k.noteSkipped(r.skipped)
	if l.Version != k.State().Version {
		apply(l.Set)
		k.inForce(r, l)
	}
	if late != nil {
		k.complain("policy cannot be watched", fmt.Errorf("changes are seen late: %w", late))
		return retry
	}
	k.accept()
	return 0
}

// inForce notes that a set was applied.
func (k *keeper) inForce(r reading, l Loaded) {
	rules := len(l.Set.Rules())
	k.mu.Lock()
	k.state.Version, k.state.Rules, k.state.Since = l.Version, rules, l.At
	k.mu.Unlock()
	if r.absent {
		k.log.Warn("there is no policy: nothing is allowed")
		return
	}
	k.log.Info("policy in force", "version", l.Version, "rules", rules)
}

// complain notes what is wrong, and logs it once for each thing.
func (k *keeper) complain(message string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if text := err.Error(); text != k.state.Error {
		k.log.Error(message, "error", text, "version", k.state.Version)
		k.state.Error = text
	}
	if k.state.RefusedSince.IsZero() {
		k.state.RefusedSince = time.Now()
	}
}

// accept notes that nothing is wrong any more.
func (k *keeper) accept() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state.Error != "" {
		k.log.Info("policy is good again", "version", k.state.Version)
	}
	k.state.Error, k.state.RefusedSince = "", time.Time{}
}

// noteSkipped logs which files were left out, when they are others than before.
func (k *keeper) noteSkipped(names []string) {
	text := fmt.Sprintf("%q", names)
	if len(names) > 0 && text != k.skipped {
		k.log.Warn("files ignored: a policy file is named as 10-name.policy", "files", text)
	}
	k.skipped = text
}
