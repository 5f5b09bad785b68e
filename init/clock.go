package pid1

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// clockFloor is a time that is past: no build of this program is older. A clock
// before it was never set.
func clockFloor() time.Time { return time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC) }

// ClockStep returns the step "clock", which sees that the domain's clock was set
// and sets it where it was not. startTime says when the toolstack started the
// domain (ParseStartTime), by the clock of the toolstack's domain; the zero time
// if nobody says. It may be nil. Since the domain was started before it asks,
// a clock that is earlier than that, or than the year this was built, is wrong;
// it is set to the later of the two, which is at least near, and one line says
// so. A clock that is ahead is left alone: the toolstack's may have been set back.
//
// The step should find nothing to do, because Linux takes the time from Xen, for
// a PV and a PVH domain alike:
//
//   - Xen keeps the wall-clock time of its boot in each domain's shared info page
//     (wc_sec, wc_nsec; update_domain_wallclock_time in xen/common/time.c), with
//     the domain's time offset (rtc_timeoffset of xl.cfg) in it. Dom0 sets it
//     when its own clock is set, and again every 11 minutes
//     (xen_pvclock_gtod_notify in arch/x86/xen/time.c).
//   - At boot xen_time_init there, for a PVH domain by xen_hvm_init_time_ops,
//     reads it, adds the time since Xen's boot, and sets CLOCK_REALTIME. It is also what the kernel takes for its battery clock
//     (xen_get_wallclock, by read_persistent_clock64 in arch/x86/kernel/rtc.c).
//   - From then on the domain's clock runs by itself. When dom0's is set, the
//     domain's is not, unless the domain runs NTP.
//   - After a resume xen_suspend in drivers/xen/manage.c calls syscore_resume, and
//     so timekeeping_resume (kernel/time/timekeeping.c). That reads Xen's wall
//     clock again and puts the clock forward by as much as it has gone on since
//     the suspend. So the clock is right after a restore on whatever host, within
//     what the two hosts differ by. A host whose clock is behind puts nothing
//     back: the clock then stands at the time of the suspend.
//
// What is set here survives a resume, for the kernel adds a difference.
func (in *Init) ClockStep(startTime func(context.Context) (time.Time, error)) Step {
	return Step{Name: "clock", Optional: true, Run: func(ctx context.Context) error {
		least, what := clockFloor(), "this program was made"
		var failed error
		if startTime != nil {
			start, err := startTime(ctx)
			switch {
			case err != nil:
				failed = fmt.Errorf("start time of this domain: %w", err)
			case start.After(least):
				least, what = start, "this domain was started"
			}
		}
		// Round takes the monotonic reading off, which does not follow the clock.
		now := time.Now().Round(0)
		if !now.Before(least) {
			return failed
		}
		if err := in.o.Kernel.SetClock(least); err != nil {
			return fmt.Errorf("set to %s: %w", clockText(least), err)
		}
		in.say("clock: it said %s, before %s; set to %s", clockText(now), what, clockText(least))
		return failed
	}}
}

func clockText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ParseStartTime reads the node start_time of a domain's /vm/UUID: whole seconds
// since 1970, and after a dot hundredths of a second (libxl__domain_build in
// tools/libs/light/libxl_create.c). It accepts up to nine digits after the dot,
// or no dot.
func ParseStartTime(text string) (time.Time, error) {
	whole, fraction, dot := strings.Cut(text, ".")
	// 40 bits are some 34,000 years, and far from where time.Time overflows.
	sec, err := strconv.ParseUint(whole, 10, 40)
	if err != nil || dot && (fraction == "" || len(fraction) > 9) {
		return time.Time{}, fmt.Errorf("start time %.40q is not a number of seconds", text)
	}
	nsec, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 30)
	if err != nil {
		return time.Time{}, fmt.Errorf("start time %.40q is not a number of seconds", text)
	}
	return time.Unix(int64(sec), int64(nsec)), nil
}
