package grant

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"xvsock/xen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDevice is gntalloc and gntdev as one: it gives out page-aligned indices
// and memory, and keeps the order in which it was used.
type fakeDevice struct {
	mu     sync.Mutex
	calls  []string
	fails  map[string]error // by the name of the call
	next   uint64
	held   map[uint64]int // index to number of pages
	mapped int
}

func newFake() *fakeDevice {
	return &fakeDevice{fails: make(map[string]error), held: make(map[uint64]int), next: 5 * xen.PageSize}
}

func (d *fakeDevice) call(name, format string, args ...any) error {
	d.calls = append(d.calls, name+" "+fmt.Sprintf(format, args...))
	return d.fails[name]
}

func (d *fakeDevice) take(n int) uint64 {
	index := d.next
	d.next += uint64(n) * xen.PageSize
	d.held[index] = n
	return index
}

func (d *fakeDevice) drop(index uint64, n int) error {
	if d.held[index] != n {
		return fmt.Errorf("index %#x holds %d pages, not %d", index, d.held[index], n)
	}
	delete(d.held, index)
	return nil
}

func (d *fakeDevice) alloc(to xen.DomID, n int, writable bool) (uint64, []uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("alloc", "%d for %v writable=%v", n, to, writable); err != nil {
		return 0, nil, err
	}
	refs := make([]uint32, n)
	for i := range refs {
		refs[i] = uint32(100 + i)
	}
	return d.take(n), refs, nil
}

func (d *fakeDevice) name(from xen.DomID, refs []uint32) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("name", "%v of %v", refs, from); err != nil {
		return 0, err
	}
	return d.take(len(refs)), nil
}

func (d *fakeDevice) mmap(index uint64, n int) (memory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("mmap", "%d at %#x", n, index); err != nil {
		return nil, err
	}
	d.mapped++
	return &fakeMemory{device: d, bytes: make([]byte, n*xen.PageSize)}, nil
}

func (d *fakeDevice) notify(index uint64, port xen.Port) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.call("notify", "%d at %#x", port, index)
}

func (d *fakeDevice) clear(index uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.call("clear", "at %#x", index)
}

func (d *fakeDevice) dealloc(index uint64, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("dealloc", "%d at %#x", n, index); err != nil {
		return err
	}
	return d.drop(index, n)
}

func (d *fakeDevice) forget(index uint64, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("forget", "%d at %#x", n, index); err != nil {
		return err
	}
	return d.drop(index, n)
}

// empty fails the test unless everything was given back.
func (d *fakeDevice) empty(t *testing.T) {
	t.Helper()
	if len(d.held) != 0 || d.mapped != 0 {
		t.Errorf("left: %d mappings, pages %v", d.mapped, d.held)
	}
}

type fakeMemory struct {
	device *fakeDevice
	bytes  []byte
	gone   bool
}

func (m *fakeMemory) Bytes() []byte { return m.bytes }

func (m *fakeMemory) Unmap() error {
	m.device.mu.Lock()
	defer m.device.mu.Unlock()
	if m.gone {
		return os.ErrInvalid // the real one would unmap somebody else's memory
	}
	m.gone = true
	m.device.mapped--
	return m.device.call("munmap", "%d", len(m.bytes)/xen.PageSize)
}
