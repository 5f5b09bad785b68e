package config

import (
	"fmt"
	"io"
	"strings"
)

// maxCommandLine bounds what is read as a command line, in bytes. No
// architecture of Linux takes one as long.
const maxCommandLine = 64 << 10

// How much of a command line reaches the kernel, in bytes without the final
// NUL. A longer one is cut without a word.
const (
	// The PV domain builder copies into MAX_GUEST_CMDLINE (1024) bytes
	// (tools/libs/guest/xg_dom_x86.c).
	longestPV = 1023
	// x86 Linux has COMMAND_LINE_SIZE (2048) bytes for everyone else.
	longestOther = 2047
)

// CommandLine is the source "command line": the words of the kernel's command
// line that are ours, or were meant to be: all that begin as Prefix does.
//
// r is read as /proc/cmdline. guest is what /sys/hypervisor/guest_type says, PV
// or another word, and decides how long a command line may have been before it
// was cut. The problems that are returned are those of the line as a whole: that
// it possibly was, a quote that is not closed, and arguments of a program that
// are none for want of quotes. The error is the reader's.
func CommandLine(r io.Reader, guest string) (Source, []Problem, error) {
	source := Source{Name: "command line", Prefix: Prefix}
	text, err := io.ReadAll(io.LimitReader(r, maxCommandLine+1))
	if err != nil {
		return source, nil, fmt.Errorf("read the command line: %w", err)
	}
	line := strings.TrimSuffix(string(text), "\n")
	all := words(line)
	for _, w := range all {
		if w.isOurs() {
			source.Settings = append(source.Settings, w.Setting)
		}
	}
	problems := checkLength(source.Name, len(line), guest)
	problems = append(problems, checkQuotes(source.Name, all)...)
	return source, append(problems, checkArguments(source.Name, all)...), nil
}

// checkLength says whether a line of n bytes was possibly cut.
func checkLength(source string, n int, guest string) []Problem {
	longest := longestOther
	if strings.TrimSpace(guest) == "PV" {
		longest = longestPV
	}
	if n < longest {
		return nil
	}
	return []Problem{{
		Source: source,
		Reason: fmt.Sprintf("it is %d bytes long and was possibly cut", n),
		Fix:    fmt.Sprintf("keep it below %d bytes", longest),
	}}
}
