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
// line that are ours.
//
// r is read as /proc/cmdline. guest is what /sys/hypervisor/guest_type says, PV
// or another word, and decides how long a command line may have been before it
// was cut; the problem that is returned says that it possibly was. The error is
// the reader's.
func CommandLine(r io.Reader, guest string) (Source, []Problem, error) {
	source := Source{Name: "command line", Prefix: Prefix}
	text, err := io.ReadAll(io.LimitReader(r, maxCommandLine+1))
	if err != nil {
		return source, nil, fmt.Errorf("read the command line: %w", err)
	}
	line := strings.TrimSuffix(string(text), "\n")
	for _, w := range words(line) {
		if len(w.Key) >= len(Prefix) && strings.EqualFold(w.Key[:len(Prefix)], Prefix) {
			source.Settings = append(source.Settings, w)
		}
	}
	longest := longestOther
	if strings.TrimSpace(guest) == "PV" {
		longest = longestPV
	}
	if len(line) < longest {
		return source, nil, nil
	}
	return source, []Problem{{
		Source: source.Name,
		Reason: fmt.Sprintf("it is %d bytes long and was possibly cut", len(line)),
		Fix:    fmt.Sprintf("keep it below %d bytes", longest),
	}}, nil
}

// words splits a command line as the kernel does (next_arg in lib/cmdline.c):
// at blanks outside double quotes, and at the first = of a word. A quote before
// the whole word, or right after the =, is taken off together with one at the
// end; no other quote is, and a backslash means nothing. A word without = has
// an empty value. The kernel leaves what follows a lone -- to PID 1, which is
// who reads here, so it is a word like any other.
func words(line string) []Setting {
	var list []Setting
	for {
		line = strings.TrimLeftFunc(line, func(r rune) bool { return r < 0x80 && blank(byte(r)) })
		if line == "" {
			return list
		}
		quoted := line[0] == '"'
		if quoted {
			line = line[1:]
		}
		n := wordEnd(line, quoted)
		list = append(list, setting(line[:n], quoted))
		line = line[n:]
	}
}

// wordEnd returns the length of the word that line begins with.
func wordEnd(line string, inQuote bool) int {
	for i, b := range []byte(line) {
		if b == '"' {
			inQuote = !inQuote
		}
		if blank(b) && !inQuote {
			return i
		}
	}
	return len(line)
}

func setting(word string, quoted bool) Setting {
	key, value, ok := strings.Cut(word, "=")
	switch {
	case !ok:
		if quoted {
			key = strings.TrimSuffix(key, `"`)
		}
	case strings.HasPrefix(value, `"`):
		value = strings.TrimSuffix(value[1:], `"`)
	case quoted:
		value = strings.TrimSuffix(value, `"`)
	}
	return Setting{Key: key, Value: value}
}

// blank is the kernel's isspace for ASCII.
func blank(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }
