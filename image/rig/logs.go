package rig

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// logs is the directory in which one run is logged.
type logs struct {
	dir   string
	begin time.Time

	mu       sync.Mutex
	files    []*os.File
	commands *os.File
}

// newLogs empties dir and logs into it.
func newLogs(dir string) (*logs, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	l := &logs{dir: dir, begin: time.Now()}
	f, err := l.open("commands.log")
	if err != nil {
		return nil, err
	}
	l.commands = f
	return l, nil
}

// open makes a log file, which close will close.
func (l *logs) open(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, safeName(name)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, f)
	return f, nil
}

// optional is open for a log that a scenario can do without: nil on error.
func (l *logs) optional(name string) io.Writer {
	f, err := l.open(name)
	if err != nil {
		l.event("%v", err)
		return nil
	}
	return f
}

// event adds one line to the log of commands.
func (l *logs) event(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.commands, "%8.3f %s\n", time.Since(l.begin).Seconds(), text)
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		_ = f.Close()
	}
}

// safeName makes s a single file name.
func safeName(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == 0x7f || r > 0x7f {
			return '_'
		}
		return r
	}, s)
}
