package cli

import (
	"bytes"
	"context"
	"path/filepath"
	"syscall"
	"testing"

	"xvsock/bridge"
	"xvsock/services/control"
	"xvsock/services/varlink"
)

func TestShutdownTellsPID1(t *testing.T) {
	for _, reboot := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "control")
		l, err := bridge.ListenControl(path)
		if err != nil {
			t.Fatal(err)
		}
		var told *bool
		served := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				err = new(varlink.Server).Serve(t.Context(), c, varlink.Methods{
					control.MethodShutdown: func(_ context.Context, call *varlink.Call) (any, error) {
						var args struct {
							Reboot bool `json:"reboot"`
						}
						err := call.Decode(&args)
						told = &args.Reboot
						return nil, err
					},
				})
			}
			served <- err
		}()
		var stderr bytes.Buffer
		if code := (&app{control: path}).shutdown(reboot, noKill, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("shutdown ends with %d: %s", code, &stderr)
		}
		if err := <-served; err != nil || told == nil || *told != reboot {
			t.Errorf("PID 1 was told %v, %v; want %v", told, err, reboot)
		}
		l.Close()
	}
}

// noKill is kill(2) where nobody may be killed.
func noKill(int, syscall.Signal) error { return syscall.EPERM }

func TestShutdownIsTriedBySignalWhereThereIsNoControlSocket(t *testing.T) {
	for reboot, want := range map[bool]syscall.Signal{false: syscall.SIGTERM, true: syscall.SIGINT} {
		var stderr bytes.Buffer
		var sent syscall.Signal
		code := (&app{control: filepath.Join(t.TempDir(), "none")}).shutdown(reboot, func(pid int, sig syscall.Signal) error {
			if pid == 1 {
				sent = sig
			}
			return nil
		}, &stderr)
		if code != 0 || sent != want || stderr.Len() > 0 {
			t.Errorf("reboot %v: PID 1 gets %v, code %d: %s", reboot, sent, code, &stderr)
		}
	}
}

func TestShutdownThatNobodyHearsSaysSo(t *testing.T) {
	var stderr bytes.Buffer
	code := (&app{control: filepath.Join(t.TempDir(), "none")}).shutdown(false, noKill, &stderr)
	if code != exitSetup || stderr.String() != "xvsock: tell PID 1 to end: operation not permitted\n" {
		t.Errorf("shutdown ends with %d: %s", code, &stderr)
	}
}

func TestPrintableLeavesNothingThatSteersATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "": "", `a "quoted" word`: `a "quoted" word`, "größe 界": "größe 界",
		"\x1b[31m": `\x1b[31m`, "a\nb": `a\nb`, "a\tb": `a\tb`, "\u202e": `\u202e`, "\xff": `\xff`, "\x7f": `\x7f`, `\x1b`: `\\x1b`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}
