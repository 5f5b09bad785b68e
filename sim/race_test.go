//go:build race

package sim_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"xvsock/grant"
)

// A producer writes data, then publishes a position atomically. Its page is also
// read beyond that position by speculative copies of every size.
func TestTheRaceDetectorAcceptsASpeculativeReader(t *testing.T) {
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	mem := pages.Bytes()
	reader := b.Process()
	var position atomic.Uint64 // stands for the test's own end
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint64(1); i <= 200; i++ {
			binary.NativeEndian.PutUint64(mem[64+8*i:], i)
			publish(mem, i)
			position.Store(i)
		}
	})
	for position.Load() < 200 {
		got, err := read(reader, a.ID(), pages.Refs()[0], 0, 4096)
		if err != nil {
			t.Fatal(err)
		}
		for i := uint64(1); i <= binary.NativeEndian.Uint64([]byte(got)); i++ {
			if v := binary.NativeEndian.Uint64([]byte(got)[64+8*i:]); v != i {
				t.Fatalf("word %d is %d although it was published", i, v)
			}
		}
		if _, err := read(reader, a.ID(), pages.Refs()[0], 64+8*int(position.Load()), 64); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

// A frontend reads what lies in its to-front page and then publishes that it is
// free; the backend sees that by a copy and writes into the page again.
func TestTheRaceDetectorAcceptsAWriterThatWaitsForTheOwner(t *testing.T) {
	_, a, b := pair(t)
	header := share(t, a.Process(), b, 1, grant.ReadOnly)
	data := share(t, a.Process(), b, 1, grant.Writable)
	mem := data.Bytes()
	reader := b.Process() // not below: it takes the host's lock, which orders
	var wg sync.WaitGroup
	wg.Go(func() {
		if mem[0] != 0 {
			t.Error("the page was written too early")
		}
		publish(header.Bytes(), 1)
	})
	for free := ""; free != "\x01"; {
		var err error
		if free, err = read(reader, a.ID(), header.Refs()[0], 0, 8); err != nil {
			t.Fatal(err)
		}
		free = free[:1]
	}
	err := reader.Grants().Copy([]grant.Segment{{Local: []byte{1}, Domain: a.ID(), Ref: data.Refs()[0], Write: true}})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// publish stores the page's first word.
func publish(mem []byte, v uint64) {
	wordOf(mem).Store(v)
}

// The reader of a mapping that looks before anything is published, and the
// owner that uses its page while another goroutine revokes it, are reported.
func TestTheRaceDetectorReportsWhatTheProtocolDoesNotOrder(t *testing.T) {
	for _, name := range []string{"early reader", "use during revoke", "writer and reader of a writable page"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestRacy$", "-test.v")
			cmd.Env = append(os.Environ(), "XVSOCK_RACY="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "WARNING: DATA RACE") {
				t.Fatalf("no race reported: %v\n%s", err, out)
			}
		})
	}
}

// TestRacy is wrong on purpose, and run by the test above alone.
func TestRacy(t *testing.T) {
	name := os.Getenv("XVSOCK_RACY")
	if name == "" {
		t.Skip("run by TestTheRaceDetectorReportsWhatTheProtocolDoesNotOrder")
	}
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.Writable)
	mem := pages.Bytes()
	m := mapped(t, b.Process(), a, pages.Refs()).Bytes()
	other := share(t, a.Process(), b, 1, grant.Writable)
	otherMem := other.Bytes()
	var wg sync.WaitGroup
	switch name {
	case "early reader":
		wg.Go(func() { mem[100] = 1 })
		wg.Go(func() { _ = m[100] })
	case "use during revoke":
		wg.Go(func() { otherMem[100] = 1 })
		wg.Go(func() { other.Revoke() })
	case "writer and reader of a writable page":
		wg.Go(func() {
			seg := []grant.Segment{{Local: []byte("x"), Domain: a.ID(), Ref: other.Refs()[0], Offset: 100, Write: true}}
			b.Process().Grants().Copy(seg)
		})
		wg.Go(func() { _ = otherMem[100] })
	}
	wg.Wait()
}
