package rig_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"xvsock/image/rig"
)

// goesOn saves a guest that counts and restores it: it counts on, as another domain.
func goesOn(t *testing.T, s *rig.Scenario, hello string) {
	const file = "/tmp/counter.save"
	d := s.Guest(rig.Guest{Name: "counter", Ramdisk: hello, Cmdline: "hello=tick"})
	s.Await(d, "tick 3")
	if err := d.Checkpoint(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	before := ticks(t, s.Await(d, "tick")) // it runs
	if err := d.Save(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := d.AwaitGone(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(d.Console().String()), "\n")
	last := ticks(t, lines[len(lines)-1])
	again, err := s.Restore(t.Context(), d, file, "")
	if err != nil {
		t.Fatal(err)
	}
	if again.ID == d.ID {
		t.Errorf("domain %v was restored as domain %v", d.ID, again.ID)
	}
	// What was said before the restore does not count.
	after := ticks(t, s.Await(again, "tick"))
	t.Logf("tick %d, saved at tick %d at the latest, restored, tick %d", before, last, after)
	if after <= last {
		t.Errorf("the console's last line before the restore was tick %d, the first one after it tick %d", last, after)
	}
	if err := again.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(t.Context(), file); !errors.Is(err, rig.ErrSave) {
		t.Errorf("Save of a guest that is gone = %v, want ErrSave", err)
	}
	if _, err := s.Restore(t.Context(), d, "/tmp/no-such-file", ""); !errors.Is(err, rig.ErrRestore) {
		t.Errorf("Restore of a missing file = %v, want ErrRestore", err)
	}
}

// ticks reads the number in a line "hello: tick N".
func ticks(t *testing.T, line string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(line, "hello: tick %d", &n); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return n
}
