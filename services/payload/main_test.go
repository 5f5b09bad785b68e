package payload_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"xvsock/services/payload"
)

// programWord makes the test's binary one of the programs of programs_test.go.
const programWord = "be-a-program"

func TestMain(m *testing.M) {
	if os.Args[0] == payload.TrampolineName {
		fmt.Fprintln(os.Stderr, payload.Trampoline(os.Args, os.Environ()))
		os.Exit(127)
	}
	if len(os.Args) > 2 && os.Args[1] == programWord {
		beProgram(os.Args[2], os.Args[3:])
		syscall.Exit(0) // at once: the race detector would have os.Exit wait
	}
	goleak.VerifyTestMain(m)
}
