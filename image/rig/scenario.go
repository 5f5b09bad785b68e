package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Scenario is a host in a test. Its methods end the test when a step fails,
// and give each step Config.StepTimeout; those of Host, which it embeds,
// return errors.
type Scenario struct {
	*Host
	tb testing.TB
}

// Boot boots a Xen host that lives as long as the test. Its logs stay, in
// build/rig/TEST below the module's root, when the test fails.
//
// The test is skipped under -short and with XVSOCK_RIG=0, and when something
// has to be installed first, unless XVSOCK_RIG=1 says that it must run.
func Boot(tb testing.TB, c Config) *Scenario {
	tb.Helper()
	Require(tb)
	if c.LogDir == "" {
		dir, err := logDirOf(tb.Name())
		if err != nil {
			tb.Fatal(err)
		}
		c.LogDir = dir
	}
	host, err := Start(tb.Context(), c)
	if err != nil {
		tb.Fatalf("%v\nlogs: %s", err, c.LogDir)
	}
	tb.Logf("rig: %s", host.Timing)
	s := &Scenario{Host: host, tb: tb}
	tb.Cleanup(s.end)
	return s
}

// Require ends the test when no Xen host can or shall be booted here, by the
// rules that Boot names.
func Require(tb testing.TB) {
	tb.Helper()
	must := os.Getenv("XVSOCK_RIG")
	if must == "0" || (must != "1" && testing.Short()) {
		tb.Skip("no Xen host wanted (-short or XVSOCK_RIG=0)")
	}
	missing := Missing()
	if len(missing) == 0 {
		return
	}
	text := "a Xen host in QEMU needs: apt-get install --no-install-recommends " + strings.Join(missing, " ")
	if must == "1" {
		tb.Fatal(text)
	}
	tb.Skip(text)
}

// logDirOf gives the directory for the logs of a test.
func logDirOf(test string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return filepath.Join(at, "build", "rig", safeName(test)), nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find the module's root: no go.mod above %s; set Config.LogDir", dir)
		}
	}
}

// end closes the host and says what came of it.
func (s *Scenario) end() {
	broken := s.Err()
	s.Close()
	if broken != nil {
		s.tb.Errorf("rig: %v", broken)
	}
	if s.tb.Failed() {
		s.tb.Logf("rig: FAILED; consoles and commands are in %s", s.LogDir())
		return
	}
	_ = os.RemoveAll(s.LogDir())
	s.tb.Log("rig: passed")
}

// step gives the context of one step.
func (s *Scenario) step() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(s.tb.Context(), s.Config.StepTimeout,
		fmt.Errorf("not done after %v", s.Config.StepTimeout))
}

func (s *Scenario) check(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatalf("%v\nlogs: %s", err, s.LogDir())
	}
}

// Sh runs a shell command in dom0, which must succeed, and gives what it
// printed on standard output.
func (s *Scenario) Sh(command string) string {
	s.tb.Helper()
	ctx, cancel := s.step()
	defer cancel()
	result, err := s.Run(ctx, command)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("run %q in dom0: exit status %d\n%s%s", command, result.Code, result.Stdout, result.Stderr)
	}
	s.check(err)
	return result.Stdout
}

// Background starts a shell command in dom0 that goes on by itself.
func (s *Scenario) Background(command string) *Process {
	s.tb.Helper()
	ctx, cancel := s.step()
	defer cancel()
	p, err := s.Start(ctx, command)
	s.check(err)
	return p
}

// Guest creates a guest.
func (s *Scenario) Guest(g Guest) *Domain {
	s.tb.Helper()
	ctx, cancel := s.step()
	defer cancel()
	d, err := s.Create(ctx, g)
	s.check(err)
	return d
}

// Await waits for a line of a guest's console (a *Domain) or a command's
// output (a *Process) that contains text.
func (s *Scenario) Await(from Speaker, text string) string {
	s.tb.Helper()
	ctx, cancel := s.step()
	defer cancel()
	line, err := from.Expect(ctx, text)
	s.check(err)
	return line
}

// Speaker is what Await listens to.
type Speaker interface {
	Expect(ctx context.Context, text string) (line string, err error)
}

// Put copies a file from here to dom0.
func (s *Scenario) Put(from, to string) {
	s.tb.Helper()
	ctx, cancel := s.step()
	defer cancel()
	s.check(s.Send(ctx, from, to))
}
