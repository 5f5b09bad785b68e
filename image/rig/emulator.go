package rig

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrLost says that the emulator lost a guest, through no fault of the guest's.
var ErrLost = errors.New("the emulator lost the guest")

const (
	// maxLives is how many lives OutliveEmulator gives a guest. A life that ends by a
	// loss costs seconds, and there are machines that lose four guests in a row.
	maxLives = 12
	// lossLine is what Xen says of a guest that is lost.
	lossLine = "Triple fault"
)

// OutliveEmulator runs life, which makes and uses the PVH guest of that name, and
// runs it again if the emulator lost the guest: QEMU's SVM in software loses some, at
// their boot or later, and Xen then reports a triple fault with a state that no guest
// has put there. It is the exits to Xen at which they are lost: of four guests one was
// at the instruction after a port was read, three at the one after the TSC was. There
// are most of these while the kernel, at its boot, measures the TSC by a timer that PVH
// has not, by 100000 reads of a port. The context of life ends as soon as Xen says so, with a cause that is
// ErrLost; life must return then. An error of life counts in any other case, and when
// the guest was lost in each of many lives, ErrLost is in it. It tells log of each loss.
//
// While life runs no other guest of the host may be PVH: their losses look the same.
func (h *Host) OutliveEmulator(ctx context.Context, name string, log func(format string, args ...any), life func(ctx context.Context) error) error {
	remove := func() error {
		_, err := h.Run(ctx, "xl destroy "+quote(name)+"; while xl domid "+quote(name)+"; do sleep 0.2; done")
		return err
	}
	return outlive(ctx, h.Console, log, remove, life, name)
}

// outlive is OutliveEmulator on a host with that console. What is left of a guest
// that was lost is removed by remove.
func outlive(ctx context.Context, xen *Transcript, log func(string, ...any), remove func() error, life func(context.Context) error, name string) error {
	for n := 1; ; n++ {
		begin := time.Now()
		err := untilLost(ctx, xen, life)
		if !errors.Is(err, ErrLost) {
			return err
		}
		if n == maxLives {
			return fmt.Errorf("guest %s: lost in each of %d lives, the last one: %w", name, n, err)
		}
		log("guest %s: life %d, after %v: %v", name, n, time.Since(begin).Round(100*time.Millisecond), err)
		if err := remove(); err != nil {
			return fmt.Errorf("remove guest %s, which the emulator lost: %w", name, err)
		}
	}
}

// untilLost runs life once. If life fails and Xen has reported a loss, the error is
// ErrLost with what Xen and life said.
func untilLost(ctx context.Context, xen *Transcript, life func(context.Context) error) error {
	from := xen.length()
	watched, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if line, err := xen.await(watched, from, lossLine); err == nil {
			cancel(lost(line))
		}
	}()
	err := life(watched)
	cancel(nil)
	<-ended
	if err == nil || errors.Is(err, ErrLost) {
		return err
	}
	// Life may have noticed in its own way, and first.
	if line, _, _ := xen.find(from, lossLine); line != "" {
		return fmt.Errorf("%w; then: %w", lost(line), err)
	}
	return err
}

// lost is ErrLost with Xen's line about it.
func lost(line string) error { return fmt.Errorf("%w (%s)", ErrLost, strings.TrimSpace(line)) }

// quote makes a word of the shell out of text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
