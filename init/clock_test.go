package pid1_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	pid1 "xvsock/init"
)

func TestTheClockIsSetWhereItIsBehind(t *testing.T) {
	const second = time.Second
	// In the bubble the clock begins at the year 2000.
	started := time.Date(2026, time.March, 1, 12, 0, 0, 250_000_000, time.UTC)
	late := func(d time.Duration) time.Time { return started.Add(d) }
	unset := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	refused := errors.New("xenstore: permission denied")
	for _, tt := range []struct {
		name  string
		now   time.Time
		start time.Time
		err   error // of who says the start time
		want  string
		line  string
	}{
		{"as it should be", late(second), started, nil, "", ""},
		{"at the very start", started, started, nil, "", ""},
		{"far ahead of the toolstack's", late(24 * 365 * time.Hour), started, nil, "", ""},
		{"a little behind", late(-second), started, nil, "set clock 2026-03-01T12:00:00.25Z",
			"xvsock: clock: it said 2026-03-01T11:59:59Z, before this domain was started; set to 2026-03-01T12:00:00Z\n"},
		{"never set", unset, started, nil, "set clock 2026-03-01T12:00:00.25Z",
			"xvsock: clock: it said 2000-01-01T00:00:00Z, before this domain was started; set to 2026-03-01T12:00:00Z\n"},
		{"never set, and nobody says when the domain was started", unset, time.Time{}, nil, "set clock 2024-01-01T00:00:00Z",
			"xvsock: clock: it said 2000-01-01T00:00:00Z, before this program was made; set to 2024-01-01T00:00:00Z\n"},
		{"neither this clock nor the toolstack's was ever set", unset, unset.Add(time.Hour), nil, "set clock 2024-01-01T00:00:00Z",
			"xvsock: clock: it said 2000-01-01T00:00:00Z, before this program was made; set to 2024-01-01T00:00:00Z\n"},
		{"never set, and the start time cannot be read", unset, time.Time{}, refused, "set clock 2024-01-01T00:00:00Z",
			"xvsock: clock: it said 2000-01-01T00:00:00Z, before this program was made; set to 2024-01-01T00:00:00Z\n"},
		{"right, and the start time cannot be read", started, time.Time{}, refused, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(tt.now))
				in := newInit(t)
				step := in.ClockStep(func(context.Context) (time.Time, error) { return tt.start, tt.err })
				if err := step.Run(t.Context()); !errors.Is(err, tt.err) || !step.Optional {
					t.Errorf("Run() = %v; want %v, of an optional step", err, tt.err)
				}
				var want []string
				if tt.want != "" {
					want = []string{tt.want}
				}
				if got := in.machine.took(); !slices.Equal(got, want) || in.console.String() != tt.line {
					t.Errorf("the machine saw %q, console %q; want %q, %q", got, in.console, want, tt.line)
				}
			})
		})
	}
}

func TestAClockThatCannotBeSetIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInitOn(t, &machine{}, func(k *pid1.Kernel) {
			k.SetClock = func(time.Time) error { return errors.New("refused") }
		})
		err := in.ClockStep(nil).Run(t.Context())
		if want := "set to 2024-01-01T00:00:00Z: refused"; text(err) != want || in.console.String() != "" {
			t.Errorf("Run() = %v, console %q; want %q", err, in.console, want)
		}
	})
}

func TestStartTimes(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       time.Time // zero: refused
	}{
		{"as libxl writes it", "1772366400.05", time.Unix(1772366400, 50_000_000)},
		{"whole seconds", "1772366400", time.Unix(1772366400, 0)},
		{"nanoseconds", "1772366400.000000001", time.Unix(1772366400, 1)},
		{"the epoch", "0.00", time.Unix(0, 0)},
		{"nothing", "", time.Time{}},
		{"a dot", ".", time.Time{}},
		{"no seconds", ".5", time.Time{}},
		{"no fraction", "5.", time.Time{}},
		{"too fine", "5.0000000001", time.Time{}},
		{"negative", "-5.00", time.Time{}},
		{"a negative fraction", "5.-1", time.Time{}},
		{"two dots", "5.1.1", time.Time{}},
		{"words", "now", time.Time{}},
		{"a blank", "5.00 ", time.Time{}},
		{"beyond all numbers", "99999999999999999999.00", time.Time{}},
		{"beyond all years", "18446744073709551615.00", time.Time{}},
		{"a NUL", "5.00\x00", time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pid1.ParseStartTime(tt.text)
			if !got.Equal(tt.want) || (err == nil) != !tt.want.IsZero() {
				t.Errorf("ParseStartTime(%q) = %v, %v; want %v", tt.text, got, err, tt.want)
			}
		})
	}
}

func FuzzParseStartTime(f *testing.F) {
	for _, text := range []string{"", "1772366400.05", "0", "1.999999999", "-1", "1e9"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := pid1.ParseStartTime(text)
		if err == nil && (got.Before(time.Unix(0, 0)) || got.Year() > 40_000) {
			t.Errorf("ParseStartTime(%q) = %v", text, got)
		}
	})
}
