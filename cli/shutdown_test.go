package cli

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
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
		if code := (&app{control: path}).shutdown(reboot, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("shutdown ends with %d: %s", code, &stderr)
		}
		if err := <-served; err != nil || told == nil || *told != reboot {
			t.Errorf("PID 1 was told %v, %v; want %v", told, err, reboot)
		}
		l.Close()
	}
}

func TestShutdownWithoutPID1SaysSo(t *testing.T) {
	var stderr bytes.Buffer
	code := (&app{control: filepath.Join(t.TempDir(), "none")}).shutdown(false, &stderr)
	if code != exitSetup || !strings.HasPrefix(stderr.String(), "xvsock: tell PID 1 to end: no xvsock daemon") {
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
