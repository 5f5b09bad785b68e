package rig

import (
	"context"
	"fmt"
	"strings"
)

// lives is how often OutliveEmulator tries.
const lives = 4

// OutliveEmulator runs life, which makes and uses the PVH guest of that name, and
// runs it again if the emulator lost the guest: QEMU's SVM in software loses one
// in ten or so, at its boot or later, and Xen then reports a triple fault with a
// state that no guest has put there. An error of life counts in any other case. It
// tells log of each loss.
func (h *Host) OutliveEmulator(ctx context.Context, name string, log func(format string, args ...any), life func() error) error {
	for try := 1; ; try++ {
		said := len(h.Console.String())
		err := life()
		if err == nil || try == lives || !strings.Contains(h.Console.String()[said:], "Triple fault") {
			return err
		}
		log("guest %s: the emulator lost it (Xen reports a triple fault) in life %d: %v", name, try, err)
		if _, err := h.Run(ctx, "xl destroy "+quote(name)+"; while xl domid "+quote(name)+"; do sleep 0.2; done"); err != nil {
			return fmt.Errorf("remove guest %s: %w", name, err)
		}
	}
}

// quote makes a word of the shell out of text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
