package pid1

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	mebi = 1 << 20

	// smallRAM is where memory is worth more than the time to collect it.
	smallRAM = 512 * mebi
	// smallGC is GOGC there: half as much garbage as live data. The live data of
	// PID 1 are a few megabytes, so a collection is short.
	smallGC = 50
	// leastLimit keeps the collector from running all the time in a domain that
	// has next to nothing.
	leastLimit = 14 * mebi
)

// MemoryLimit returns the size in bytes at which the Go runtime shall start to
// collect hard, in a domain of ram bytes: the receive budget of all peers (1/8
// of the memory) and 4 MiB for everything else. In a domain of 128 MiB, where
// the kernel leaves about 95, that is 16 MiB; with the pages of the binary
// itself PID 1 stays under 24.
func MemoryLimit(ram int64) int64 { return max(ram/8+4*mebi, leastLimit) }

// TuneMemory sets the memory limit and, in a small domain, the pace of the
// garbage collector, from /proc/meminfo as read from r. GOMEMLIMIT and GOGC
// are stronger, wherever they were set: the kernel hands words of its command
// line that it does not know to PID 1 as environment. It returns the memory of
// the domain in bytes.
func TuneMemory(r io.Reader) (ram int64, err error) {
	ram, err = memTotal(r)
	if err != nil {
		return 0, err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(MemoryLimit(ram))
	}
	if os.Getenv("GOGC") == "" && ram < smallRAM {
		debug.SetGCPercent(smallGC)
	}
	return ram, nil
}

// memTotal reads the line "MemTotal: N kB" (proc(5)).
func memTotal(r io.Reader) (int64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:")
		if !ok {
			continue
		}
		number, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		kib, err := strconv.ParseUint(strings.TrimSpace(number), 10, 48)
		if !ok || err != nil {
			return 0, fmt.Errorf("meminfo: MemTotal is %.40q, want a number of kB", rest)
		}
		return int64(kib) << 10, nil
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("meminfo: %w", err)
	}
	return 0, fmt.Errorf("meminfo: no MemTotal line")
}
