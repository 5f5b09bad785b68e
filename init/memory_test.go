package pid1_test

import (
	"math"
	"runtime/debug"
	"strings"
	"testing"

	pid1 "xvsock/init"
)

func TestMemoryIsTunedToTheDomain(t *testing.T) {
	const mebi = 1 << 20
	for _, tt := range []struct {
		name, meminfo, gomemlimit, gogc string
		limit                           int64
		percent                         int
	}{
		{"a domain of 128 MiB", "MemTotal:          97280 kB\nMemFree: 1 kB\n", "", "", 97280<<10/8 + 4*mebi, 50},
		{"next to nothing", "MemTotal: 4096 kB\n", "", "", 14 * mebi, 50},
		{"a large domain keeps Go's pace", "MemFree: 1 kB\nMemTotal: 4194304 kB\n", "", "", 516 * mebi, 100},
		{"the environment is stronger", "MemTotal: 97280 kB\n", "1GiB", "77", math.MaxInt64, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", tt.gomemlimit)
			t.Setenv("GOGC", tt.gogc)
			limit, percent := debug.SetMemoryLimit(math.MaxInt64), debug.SetGCPercent(100)
			defer func() { debug.SetMemoryLimit(limit); debug.SetGCPercent(percent) }()
			if _, err := pid1.TuneMemory(strings.NewReader(tt.meminfo)); err != nil {
				t.Fatal(err)
			}
			gotLimit, gotPercent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
			if gotLimit != tt.limit || gotPercent != tt.percent {
				t.Errorf("limit %d, GOGC %d; want %d, %d", gotLimit, gotPercent, tt.limit, tt.percent)
			}
		})
	}
}

func TestMeminfoThatCannotBeRead(t *testing.T) {
	for _, tt := range []struct{ name, meminfo string }{
		{"empty", ""},
		{"no such line", "MemFree: 1 kB\n"},
		{"no number", "MemTotal: much kB\n"},
		{"another unit", "MemTotal: 12 MB\n"},
		{"a number that overflows", "MemTotal: 99999999999999999999 kB\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ram, err := pid1.TuneMemory(strings.NewReader(tt.meminfo)); err == nil {
				t.Errorf("TuneMemory() = %d; want an error", ram)
			}
		})
	}
}
