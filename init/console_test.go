package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pid1 "xvsock/init"
)

// stuck is a console that nobody drains until open is closed.
type stuck struct {
	open chan struct{}
	console
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.open
	return s.console.Write(p)
}

func TestConsoleKeepsOrder(t *testing.T) {
	var out console
	c := pid1.NewConsole(&out)
	want := ""
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		want += line
		fmt.Fprint(c, line)
	}
	if err := c.Flush(t.Context()); err != nil || out.String() != want {
		t.Errorf("Flush() = %v; %d bytes out of %d, or not in order", err, len(out.String()), len(want))
	}
}

func TestConsoleNeverWaitsAndCountsWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{open: make(chan struct{})}
		c := pid1.NewConsole(out)
		fmt.Fprintln(c, "first")
		synctest.Wait() // it is being written, and that takes for ever
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range 64 + 5 {
			if n, err := c.Write(line); n != len(line) || err != nil {
				t.Fatalf("Write() = %d, %v", n, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush() = %v; want its deadline", err)
		}
		close(out.open)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := "first\n" + strings.Repeat(string(line), 64) + "xvsock: console too slow: 5 lines dropped\n"
		if out.String() != want {
			t.Errorf("console got %d bytes ending in %q", len(out.String()), out.String()[max(0, len(out.String())-60):])
		}
		fmt.Fprintln(c, "again")
		if err := c.Flush(t.Context()); err != nil || !strings.HasSuffix(out.String(), "dropped\nagain\n") {
			t.Errorf("the console did not recover: %v", err)
		}
	})
}

func TestConsoleIsSafeForManyWriters(t *testing.T) {
	var out console
	c := pid1.NewConsole(&out)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 100 {
				fmt.Fprintln(c, "whole line")
			}
		})
	}
	writers.Wait()
	if err := c.Flush(t.Context()); err != nil || out.String() != strings.Repeat("whole line\n", 800) {
		t.Errorf("Flush() = %v; lines are missing or mixed", err)
	}
}

func TestShutdownFlushesTheConsoleButDoesNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name string
			out  *stuck
		}{{"drained", &stuck{open: make(chan struct{})}}, {"stuck", &stuck{open: make(chan struct{})}}} {
			m := &machine{}
			kernel := m.kernel()
			kernel.Reboot = func(int) error {
				m.note("reboot", tt.out.String())
				return nil
			}
			root := t.TempDir()
			write(t, root, map[string]string{"proc/mounts": ""})
			in := pid1.New(pid1.Options{Kernel: kernel, Console: pid1.NewConsole(tt.out), Root: root})
			if tt.name == "drained" {
				close(tt.out.open)
			}
			if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil {
				t.Fatal(err)
			}
			calls := m.took()
			last := calls[len(calls)-1]
			if want := tt.name == "drained"; strings.Contains(last, "stopped (halt)") != want {
				t.Errorf("%s: at the end the console had %q", tt.name, last)
			}
			if tt.name == "stuck" {
				close(tt.out.open)
			}
		}
	})
}

func TestLogLinesAreShortAndEscaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		level := &slog.LevelVar{}
		start := time.Now()
		log := pid1.NewLog(&out, level, start)
		time.Sleep(1234 * time.Millisecond)
		log.Debug("not shown")
		log.Warn("link broken", "peer", 3, "reason", "a\nxvsock: t=0s level=INFO \x1b[2J\u202e", "time", "kept", "a\x7f", "\x7fb", "c", "\x7f d")
		want := `xvsock: t=1.234s level=WARN msg="link broken" peer=3 reason="a\nxvsock: t=0s level=INFO \x1b[2J\u202e" time=kept a\x7f=\x7fb c="\x7f d"` + "\n"
		if out.String() != want {
			t.Errorf("log = %q; want %q", out.String(), want)
		}
		out.Reset()
		level.Set(slog.LevelDebug)
		log.Debug("shown")
		if !strings.Contains(out.String(), "level=DEBUG msg=shown") {
			t.Errorf("log = %q", out.String())
		}
	})
}

func TestConsoleLinesAreBoundedAndEscaped(t *testing.T) {
	in := newInit(t)
	long := strings.Repeat("é", 5000) + "\x1b[2J"
	_ = in.Boot(t.Context(), []pid1.Step{{Name: "x", Run: func(context.Context) error { return errors.New("\x1b[2J\r\u202e\xff" + long) }}})
	got := in.console.String()
	if len(got) > 1100 || strings.Count(got, "\n") != 1 || !strings.Contains(got, `x: \x1b[2J\r\u202e\xffé`) || !strings.HasSuffix(got, "é...\n") {
		t.Errorf("console = %q", got)
	}
}
