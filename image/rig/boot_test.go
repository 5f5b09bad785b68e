package rig_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/image"
	"xvsock/image/rig"
)

// helloRamdisk builds an initramfs whose PID 1 is testdata/hello.
func helloRamdisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "hello")
	if err := rig.BuildProgram(t.Context(), "xvsock/image/rig/testdata/hello", program); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	a := image.NewArchive()
	a.File("init", data, 0o755)
	a.Dir("dev", 0o755)
	a.Char("dev/console", 0o600, 5, 1)
	file := filepath.Join(dir, "hello.cpio")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestIntegrationHost(t *testing.T) {
	s := rig.Boot(t, rig.Config{})
	hello := helloRamdisk(t)

	t.Run("a command's output and exit status come back apart", func(t *testing.T) {
		r, err := s.Run(t.Context(), "echo out; echo err >&2; exit 3")
		if err != nil || r.Stdout != "out\n" || r.Stderr != "err\n" || r.Code != 3 {
			t.Errorf("Run = %+v, %v", r, err)
		}
	})
	t.Run("a command ended by a signal has 128 and its number", func(t *testing.T) {
		if r, err := s.Run(t.Context(), "kill -9 $$"); err != nil || r.Code != 137 {
			t.Errorf("Run = %+v, %v", r, err)
		}
	})
	t.Run("input reaches the command", func(t *testing.T) {
		input := strings.Repeat("0123456789abcdef", 64<<10)
		r, err := s.RunInput(t.Context(), "wc -c", []byte(input))
		if err != nil || strings.TrimSpace(r.Stdout) != "1048576" {
			t.Errorf("RunInput = %+v, %v", r, err)
		}
	})
	t.Run("16 MiB of output come back whole", func(t *testing.T) {
		r, err := s.Run(t.Context(), "head -c 16777216 /dev/zero | tr '\\0' x")
		if err != nil || len(r.Stdout) != 16<<20 || strings.Trim(r.Stdout, "x") != "" {
			t.Errorf("Run gave %d bytes, %v", len(r.Stdout), err)
		}
		t.Logf("took %v", r.Took)
	})
	t.Run("a command that outlives its context is killed with all it started", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		r, err := s.Run(ctx, "echo begun; sleep 4711 & sleep 4712")
		if !errors.Is(err, context.DeadlineExceeded) || r.Stdout != "begun\n" {
			t.Errorf("Run = %+v, %v", r, err)
		}
		if left := s.Sh("ps | grep 'sleep 471' | grep -v grep || true"); left != "" {
			t.Errorf("still running:\n%s", left)
		}
	})
	t.Run("commands run side by side", func(t *testing.T) {
		first := s.Background("sh -c 'read line < /tmp/fifo-missing; sleep 4713'")
		second := s.Background("sh -c 'echo here; sleep 4714'")
		s.Await(second, "here")
		for _, p := range []*rig.Process{first, second} {
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			if r, err := p.Wait(t.Context()); err != nil || r.Code != 137 {
				t.Errorf("Wait = %+v, %v", r, err)
			}
		}
	})
	t.Run("a file arrives whole, with its permissions, over one that runs", func(t *testing.T) {
		for range 2 {
			s.Put(filepath.Join(s.Parts.Root, "bin/busybox"), "/tmp/deep/down/busybox")
			s.Background("/tmp/deep/down/busybox sleep 4715")
		}
		want, err := os.Stat(filepath.Join(s.Parts.Root, "bin/busybox"))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Sh("stat -c '%s %a' /tmp/deep/down/busybox"); got != plain(want.Size(), want.Mode()) {
			t.Errorf("in dom0: %s", got)
		}
		s.Sh("killall busybox")
	})
	t.Run("a program that does not exist says so", func(t *testing.T) {
		if r, err := s.Run(t.Context(), "no-such-program"); err != nil || r.Code != 127 || r.Stderr == "" {
			t.Errorf("Run = %+v, %v", r, err)
		}
	})
	t.Run("beside each other", func(t *testing.T) {
		for _, kind := range []image.DomainType{image.PVH, image.PV} {
			t.Run("a guest boots and speaks: "+string(kind), func(t *testing.T) {
				t.Parallel()
				name := "guest-" + string(kind)
				err := s.OutliveEmulator(t.Context(), name, t.Logf, func(ctx context.Context) error {
					return speak(ctx, t, s, kind, name, hello)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		t.Run("a guest that powers off is gone, and its name is free", func(t *testing.T) {
			t.Parallel()
			powersOff(t, s.With(t), hello)
		})
	})
	t.Run("a guest goes on where it was saved", func(t *testing.T) { goesOn(t, s, hello) })
	t.Run("a guest that cannot be created gives xl's reason", func(t *testing.T) {
		_, err := s.Create(t.Context(), rig.Guest{Name: "huge", Ramdisk: hello, MemoryMB: 1 << 16})
		if !errors.Is(err, rig.ErrCreate) || !strings.Contains(err.Error(), "memory") {
			t.Errorf("Create = %v", err)
		}
	})
	t.Run("waiting for what does not come names the guest and shows its console", func(t *testing.T) {
		d := s.Guest(rig.Guest{Name: "quiet", Ramdisk: hello})
		s.Await(d, "booted with")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := d.Expect(ctx, "something else")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "quiet") ||
			!strings.Contains(err.Error(), "hello from PID 1") {
			t.Errorf("Expect = %v", err)
		}
	})
}

// The other xenstored, and a kernel as a distribution ships it, which libxl
// has to unpack: what users have, and the slower way here.
func TestIntegrationOCamlXenstored(t *testing.T) {
	s := rig.Boot(t, rig.Config{OCamlXenstored: true})
	s.Sh("pidof oxenstored && xenstore-write /tool/word here && test $(xenstore-read /tool/word) = here")
	d := s.Guest(rig.Guest{
		Name: "plain", Kernel: s.Parts.Guest.Image, Ramdisk: helloRamdisk(t), Cmdline: "hello=poweroff",
	})
	s.Await(d, "powering off")
	if err := d.AwaitGone(t.Context()); err != nil {
		t.Error(err)
	}
}

// powersOff makes a guest that powers off, and another of its name.
func powersOff(t *testing.T, s *rig.Scenario, ramdisk string) {
	for range 2 {
		d := s.Guest(rig.Guest{Name: "again", Ramdisk: ramdisk, Cmdline: "hello=poweroff"})
		s.Await(d, "powering off")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := d.AwaitGone(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// speak makes a guest, hears it out, and destroys it.
func speak(ctx context.Context, t *testing.T, s *rig.Scenario, kind image.DomainType, name, ramdisk string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	begin := time.Now()
	d, err := s.Create(ctx, rig.Guest{Name: name, Type: kind, Ramdisk: ramdisk, Cmdline: `hello=tick word="a b\c"`})
	if err != nil {
		return err
	}
	created := time.Since(begin)
	if _, err := d.Expect(ctx, "hello from PID 1"); err != nil {
		return err
	}
	t.Logf("%s guest: xl create %.1f s, PID 1 after %.1f s", kind, created.Seconds(), time.Since(begin).Seconds())
	line, err := d.Expect(ctx, "booted with")
	if err != nil {
		return err
	}
	if !strings.Contains(line, `hello=tick word="a b\c"`) {
		return fmt.Errorf("the guest said %q", line)
	}
	if _, err := d.Expect(ctx, "tick 3"); err != nil {
		return err
	}
	return errors.Join(d.Destroy(ctx), d.AwaitGone(ctx))
}

func TestIntegrationHostThatDies(t *testing.T) {
	rig.Require(t)
	h, err := rig.Start(t.Context(), rig.Config{LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	p, err := h.Start(t.Context(), "sleep 4716")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err = h.Run(t.Context(), "echo last words > /dev/console; reboot -f; sleep 4717")
	if !errors.Is(err, rig.ErrHostDown) || !strings.Contains(err.Error(), "last words") {
		t.Errorf("Run on a host that dies = %v, want ErrHostDown and the console's last lines", err)
	}
	t.Logf("noticed after %v", time.Since(begin))
	if _, err := p.Wait(t.Context()); !errors.Is(err, rig.ErrHostDown) {
		t.Errorf("Wait = %v, want ErrHostDown", err)
	}
	if _, err := p.Expect(t.Context(), "anything"); !errors.Is(err, rig.ErrEnded) {
		t.Errorf("Expect = %v, want ErrEnded", err)
	}
	for name, err := range map[string]error{
		"Run":       func() error { _, err := h.Run(t.Context(), "true"); return err }(),
		"WriteFile": h.WriteFile(t.Context(), "/tmp/x", nil, 0o600),
		"Err":       h.Err(),
	} {
		if !errors.Is(err, rig.ErrHostDown) {
			t.Errorf("%s afterwards = %v, want ErrHostDown", name, err)
		}
	}
}

func TestIntegrationHostThatCannotBeSetUp(t *testing.T) {
	rig.Require(t)
	h, err := rig.Start(t.Context(), rig.Config{
		LogDir: t.TempDir(), Setup: [][]string{{"sh", "-c", "echo no such luck >&2; exit 5"}},
	})
	if err == nil {
		h.Close()
	}
	if !errors.Is(err, rig.ErrHostDown) || !strings.Contains(err.Error(), "exit status 5") ||
		!strings.Contains(err.Error(), "no such luck") {
		t.Errorf("Start = %v, want what failed", err)
	}
}
