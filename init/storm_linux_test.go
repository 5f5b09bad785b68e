package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

// Ten thousand orphans die while programs of our own start and end, many of them
// before Start has returned.
func TestReaperSurvivesAStormOfOrphans(t *testing.T) {
	const makers, orphans, callers, own = 8, 1250, 4, 100
	r := reaper(t)
	before := resources()
	ever := within(t)
	start := func(script string) (*pid1.Process, *strings.Builder, error) {
		var out strings.Builder
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Stdout = &out
		p, err := r.Start(cmd)
		return p, &out, err
	}
	var storm []*pid1.Process
	for range makers {
		p, _, err := start("i=0; while [ $i -lt " + strconv.Itoa(orphans) + " ]; do (exit 3 & exit 0); i=$((i+1)); done")
		if err != nil {
			t.Fatal(err)
		}
		storm = append(storm, p)
	}
	var goroutines atomic.Int64
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			for i := range own {
				status := (caller*own+i)%255 + 1
				p, out, err := start(fmt.Sprintf("echo %d; exit %d", status, status))
				if err != nil {
					t.Error(err)
					return
				}
				if err := p.Wait(ever); text(err) != fmt.Sprint("exit status ", status) || out.String() != fmt.Sprintln(status) {
					t.Errorf("Wait() = %v, output %q; want status and output %d", err, out, status)
					return
				}
				goroutines.Store(max(goroutines.Load(), int64(runtime.NumGoroutine())))
			}
		})
	}
	running.Wait()
	for _, p := range storm {
		if err := p.Wait(ever); err != nil {
			t.Error(err)
		}
	}
	if err := r.Drain(ever); err != nil {
		t.Fatalf("Drain() = %v; want every orphan buried", err)
	}
	if left := children(t); left != "" {
		t.Errorf("children left: %s", left)
	}
	// Those that wait here, and two that collect the output of each program
	// that runs.
	if most := int64(before.goroutines + 3*(makers+callers)); goroutines.Load() > most {
		t.Errorf("%d goroutines; want at most %d", goroutines.Load(), most)
	}
	if after := resources(); after.heap > before.heap+1<<20 {
		t.Errorf("%d bytes of heap before the storm, %d after", before.heap, after.heap)
	}
}

type used struct {
	goroutines int
	heap       uint64
}

func resources() used {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return used{runtime.NumGoroutine(), m.HeapAlloc}
}

// endless is a reaper whose storm of orphans ends when the test does. The kernel
// is asked for its own programs only after that.
func endless(t *testing.T) (r *pid1.Reaper, ended func()) {
	t.Helper()
	r = pid1.NewReaper()
	var over atomic.Bool
	r.WaitBy(func(status *unix.WaitStatus, real func(*unix.WaitStatus) (int, error)) (int, error) {
		if over.Load() {
			return real(status)
		}
		return 1 << 30, nil // nobody's: pids end at 1 << 22
	})
	return r, func() { over.Store(true) }
}

// Who starts or signals a program in a storm does not wait for its end: this one
// has none.
func TestStartAndSignalDoNotWaitForTheEndOfAStorm(t *testing.T) {
	if _, err := sharedReaper(); err != nil { // makes this process a subreaper
		t.Fatal(err)
	}
	r, over := endless(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	defer func() { cancel(); running.Wait() }()
	done := make(chan error, 1)
	var p *pid1.Process
	go func() {
		for range 20 {
			var err error
			if p, err = r.Start(exec.Command("/bin/sleep", "1000")); err == nil {
				err = p.Signal(unix.SIGKILL)
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-within(t).Done():
		t.Error("Start() and Signal() did not return during the storm")
	}
	over()
	if err := r.Drain(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(within(t)); text(err) != "killed by SIGKILL" {
		t.Errorf("Wait() = %v; want its status, although the storm came first", err)
	}
}

// A shutdown is not kept by orphans that die faster than they are buried.
func TestAStormDoesNotKeepDrainAndRun(t *testing.T) {
	r, _ := endless(t)
	for name, f := range map[string]func(context.Context) error{"Drain": r.Drain, "Run": r.Run} {
		ctx, cancel := context.WithCancel(t.Context())
		returned := make(chan error, 1)
		go func() { returned <- f(ctx) }()
		cancel()
		select {
		case err := <-returned:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s() = %v; want the end of its context", name, err)
			}
		case <-within(t).Done():
			t.Fatalf("%s() did not return", name)
		}
	}
}
