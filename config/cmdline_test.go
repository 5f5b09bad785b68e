package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"xvsock/config"
)

func TestALongCommandLineWasPossiblyCut(t *testing.T) {
	for _, tt := range []struct {
		guest string
		size  int
		want  string
	}{
		{"PV\n", 1022, ""},
		{"PV\n", 1023, "command line: it is 1023 bytes long and was possibly cut; keep it below 1023 bytes"},
		{"PVH\n", 1023, ""},
		{"PVH\n", 2047, "command line: it is 2047 bytes long and was possibly cut; keep it below 2047 bytes"},
		{"", 4096, "command line: it is 4096 bytes long and was possibly cut; keep it below 2047 bytes"},
		{"", 1 << 20, "command line: it is 65537 bytes long and was possibly cut; keep it below 2047 bytes"},
	} {
		t.Run(fmt.Sprintf("%d bytes on %.3q", tt.size, tt.guest), func(t *testing.T) {
			_, problems, err := config.CommandLine(strings.NewReader(strings.Repeat("x", tt.size)+"\n"), tt.guest)
			got := strings.Join(texts(problems), "\n")
			if err != nil || got != tt.want {
				t.Errorf("CommandLine() = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, _, err := config.CommandLine(iotest.ErrReader(errors.New("broken")), "PV"); err == nil {
		t.Error("CommandLine() hid the reader's error")
	}
}

// What the kernel would have cut is read all the same, up to a bound.
func TestALongCommandLineIsRead(t *testing.T) {
	for _, size := range []int{4 << 10, 64 << 10} {
		for _, word := range []string{"x", `"`, "xvsock.x ", "xvsock.service=kv:7000:exec:/kv", "xvsock.module=m ", `xvsock.service="a b" `} {
			t.Run(fmt.Sprintf("%d bytes of %s", size, word), func(t *testing.T) {
				line := "xvsock.mode=backend " + strings.Repeat(word, size/len(word)+1)
				c, problems := resolve(t, line[:size])
				if c.Mode != config.Backend || len(problems) == 0 {
					t.Errorf("mode %v, %d problems; want backend and at least one", c.Mode, len(problems))
				}
				for _, p := range problems {
					if len(p) > 1000 {
						t.Errorf("a problem of %d bytes", len(p))
					}
				}
			})
		}
	}
}
