package cli_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"xvsock/bridge"
	"xvsock/cli"
	"xvsock/link"
	"xvsock/services/varlink"
	"xvsock/xenstore"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

// nowhere is a machine without Xen.
func nowhere() cli.Platform {
	return cli.Platform{
		Store: func() (*xenstore.Client, error) { return nil, fs.ErrNotExist },
		Devices: func(context.Context, *link.Domain, *slog.Logger) (func() error, error) {
			return nil, errors.New("not reached")
		},
	}
}

// run executes a command line on a machine without Xen.
func run(t *testing.T, args ...string) result { return runOn(t.Context(), nowhere(), args...) }

// runOn executes a command line on a platform.
func runOn(ctx context.Context, p cli.Platform, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := cli.Run(ctx, p, "v1.2.3", args, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update if it is meant):\n%s", name, diff)
	}
}

// oneLine checks that an error is told in one line that a terminal can bear.
func oneLine(t *testing.T, r result) {
	t.Helper()
	if strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "xvsock: ") || r.stdout != "" ||
		strings.ContainsFunc(strings.TrimSuffix(r.stderr, "\n"), func(c rune) bool { return c < ' ' || c == 0x7f || c == '\u202e' }) {
		t.Errorf("stdout %q, stderr %q; want one line on stderr alone", r.stdout, r.stderr)
	}
}

// daemonThat serves a control socket by the given methods and returns its path.
func daemonThat(t *testing.T, answers varlink.Methods) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	l, err := bridge.ListenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { new(varlink.Server).Serve(ctx, c, answers) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); tasks.Wait() })
	return path
}

// method answers a call of a control socket.
type method = func(context.Context, *varlink.Call) (any, error)

// answer is a method that always answers the same.
func answer(v any) method {
	return func(context.Context, *varlink.Call) (any, error) { return v, nil }
}

// refuse is a method that always answers the same error.
func refuse(err *varlink.Error) method {
	return func(context.Context, *varlink.Call) (any, error) { return nil, err }
}
