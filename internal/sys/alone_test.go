package sys

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// others are the areas of this process that have something in [first, end), but for that
// of a memfd.
func others(t *testing.T, first, end uintptr) (all []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatal(err)
		}
		if from < end && first < to && mode != "---p" && !strings.Contains(line, "/memfd:") {
			all = append(all, line)
		}
	}
	return all
}

func TestNothingElseIsInThePageTableOfAMappingAlone(t *testing.T) {
	var record Record
	f := memfd(t, 17*4096, &record)
	for range 20 {
		m, err := MapAlone(f, 4096, 16*4096)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Unmap()
		first := reflect.ValueOf(m.Bytes()).Pointer()
		if len(m.Bytes()) != 16*4096 || m.Bytes()[5] != 0 {
			t.Errorf("%d bytes are mapped", len(m.Bytes()))
		}
		if all := others(t, first&^(tableSpan-1), first|(tableSpan-1)); all != nil {
			t.Errorf("beside what is mapped at %x are %q", first, all)
		}
	}
	if held := record.Held(); len(held) != 21 {
		t.Errorf("held: %v", held)
	}
}

func TestAMappingAloneLeavesNothing(t *testing.T) {
	var record Record
	f := memfd(t, 4096, &record)
	count := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(maps), "/memfd:")
	}
	before := count()
	m, err := MapAlone(f, 0, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if count() != before+1 {
		t.Errorf("%d areas, before %d", count(), before)
	}
	for range 2 {
		if err := m.Unmap(); err != nil {
			t.Error(err)
		}
	}
	if held := record.Held(); count() != before || m.Bytes() != nil || len(held) != 1 {
		t.Errorf("%d areas, before %d; held: %v", count(), before, held)
	}
}
