package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"xvsock/cli"
)

// The demo is what a person sees first: every line of it, but for the times.
func TestSimShowsItAll(t *testing.T) {
	begin := time.Now()
	r := run(t, "sim")
	if r.code != 0 || r.stderr != "" || time.Since(begin) > 10*time.Second {
		t.Errorf("sim ends with %d after %v: %s", r.code, time.Since(begin), r.stderr)
	}
	out := regexp.MustCompile(`[0-9.]+(ms|µs|s)\b`).ReplaceAllString(r.stdout, "TIME")
	out = regexp.MustCompile(`[0-9.]+ ms \([0-9]+ MiB/s each way\)|[0-9.]+ ms\b`).ReplaceAllString(out, "TIME")
	out = regexp.MustCompile(`after [0-9]+ of`).ReplaceAllString(out, "after SOME of")
	out = regexp.MustCompile(`3:[0-9]{10}->2:7`).ReplaceAllString(out, "3:PORT->2:7")
	golden(t, "sim", out)
}

// output is written by one goroutine and read by another.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func TestSimStaysUntilItIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr output
	done := make(chan int, 1)
	go func() { done <- cli.Run(ctx, nowhere(), "v1", []string{"sim", "--stay"}, &stdout, &stderr) }()
	control := regexp.MustCompile("`xvsock --control (.*) services`")
	var found []string
	for stop := time.Now().Add(20 * time.Second); found == nil && time.Now().Before(stop); time.Sleep(10 * time.Millisecond) {
		found = control.FindStringSubmatch(stdout.String())
	}
	if found == nil {
		t.Fatalf("no word of a control socket:\n%s%s", stdout.String(), stderr.String())
	}
	if r := run(t, "--control", found[1], "ping", "web"); r.code != 0 {
		t.Errorf("ping: %+v", r)
	}
	cancel()
	if code := <-done; code != 0 || !strings.Contains(stdout.String(), "no page, port or mapping is left") {
		t.Errorf("interrupted it ends with %d: %s%s", code, stdout.String(), stderr.String())
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

func TestSimFailsWhenSomethingIsWrong(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	if r := run(t, "sim"); r.code == 0 || !strings.Contains(r.stderr, "none") {
		t.Errorf("without a directory for its sockets: %+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("TMPDIR", os.TempDir())
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", deep)
	if r := run(t, "sim"); r.code == 0 || !strings.Contains(r.stderr, "path is longer") {
		t.Errorf("with a directory that is too deep: %+v", r)
	}
	t.Setenv("TMPDIR", "/tmp")
	if r := runOn(ctx, nowhere(), "sim"); r.code == 0 {
		t.Errorf("interrupted before it has shown anything: %+v", r)
	}
}
