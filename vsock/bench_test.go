package vsock_test

import (
	"io"
	"testing"

	"xvsock/vsock"
)

// benchmarkPair returns both ends of a connection that the frontend dialed, over
// the simulated host, whose calls are far cheaper than Xen's: it is the work of
// this process that is measured, and the allocations.
func benchmarkPair(b *testing.B) (front, back *vsock.Conn) {
	b.Helper()
	backend, frontend := pair(b, roomy)
	l := backend.listen(7)
	front = frontend.dial(vsock.CIDBackend, 7)
	return front, accept(b, l)
}

func BenchmarkRoundTrip64(b *testing.B) {
	front, back := benchmarkPair(b)
	go func() {
		buf := make([]byte, 64)
		for {
			if _, err := io.ReadFull(back, buf); err != nil {
				return
			}
			if _, err := back.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64)
	b.ReportAllocs()
	b.SetBytes(64)
	for b.Loop() {
		if _, err := front.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(front, buf); err != nil {
			b.Fatal(err)
		}
	}
	front.Close()
	back.Close()
}

func BenchmarkStream(b *testing.B) {
	for name, fromFront := range map[string]bool{"from the frontend": true, "from the backend": false} {
		b.Run(name, func(b *testing.B) {
			from, to := benchmarkPair(b)
			if !fromFront {
				from, to = to, from
			}
			go func() {
				buf := make([]byte, 64<<10)
				for {
					if _, err := to.Read(buf); err != nil {
						return
					}
				}
			}()
			data := make([]byte, 64<<10)
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := from.Write(data); err != nil {
					b.Fatal(err)
				}
			}
			from.Close()
			to.Close()
		})
	}
}

// BenchmarkConnect is a connection made, used for nothing, and closed.
func BenchmarkConnect(b *testing.B) {
	backend, frontend := pair(b, roomy)
	l := backend.listen(7)
	b.ReportAllocs()
	for b.Loop() {
		front := frontend.dial(vsock.CIDBackend, 7)
		back := accept(b, l)
		front.Close()
		back.Close()
	}
}
