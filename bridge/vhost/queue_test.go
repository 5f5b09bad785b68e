package vhost

import "testing"

// newQueuePair is a queue of 4 buffers and the device's side of it.
func newQueuePair(base uint16) (q queue, d deviceQueue) {
	s := shape{buffers: 4, bufferSize: 64, slots: 4, arena: 64, base: base}
	l := s.layout()
	memory := make([]byte, l.size)
	return newQueue(l.rx, memory, s.buffers, base), newDeviceQueue(memory, l.rx, base, newFakeEvent())
}

func TestAQueueThatGoesToSleepLooksAgain(t *testing.T) {
	q, d := newQueuePair(65535)
	for id := range 4 {
		q.put(id)
	}
	q.publish()
	if _, _, ok, _ := q.take(); ok {
		t.Fatal("there is something before the kernel has done anything")
	}
	d.push(3, 11) // without an interrupt: none is wanted yet
	if d.call.signals() != 0 {
		t.Fatal("an interrupt that nobody wants")
	}
	if q.idle() {
		t.Error("what came between the two looks was not seen")
	}
	if id, length, ok, err := q.take(); id != 3 || length != 11 || !ok || err != nil {
		t.Errorf("took %d, %d, %v, %v", id, length, ok, err)
	}
	if !q.idle() {
		t.Error("something is left that was not put")
	}
	d.push(1, 0)
	if d.call.signals() != 1 {
		t.Error("no interrupt for what came after the second look")
	}
}

func TestTheKernelSeesWhatWasPublishedAndNoMore(t *testing.T) {
	q, d := newQueuePair(65534)
	q.describe(2, 0x12345, 77, descWrite)
	q.put(2)
	if _, _, _, ok := d.pop(); ok {
		t.Error("the kernel sees what was not published")
	}
	q.publish()
	id, at, size, ok := d.pop()
	if !ok || id != 2 || at != 0x12345 || size != 77 {
		t.Errorf("the kernel sees %d at %#x, %d bytes, %v", id, at, size, ok)
	}
}
