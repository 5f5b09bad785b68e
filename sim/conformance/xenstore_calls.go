package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"xvsock/xen"
	"xvsock/xenstore"
)

func testConcurrent(st *storeTest) {
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			path, value := fmt.Sprintf("%s/%d", st.dir, i), strings.Repeat(fmt.Sprint(i), 20)
			if err := st.client.Write(st.ctx, path, value); err != nil {
				st.Error(err)
			}
			if got, err := st.client.Read(st.ctx, path); err != nil || got != value {
				st.Errorf("%s is %q, %v", path, got, err)
			}
		})
		// Watches are set and closed between the others: the kernel's driver
		// handles them in another way.
		group.Go(func() {
			w, err := st.client.Watch(st.ctx, fmt.Sprintf("%s/%d", st.dir, i))
			if err != nil {
				st.Error(err)
				return
			}
			if err := w.Close(); err != nil {
				st.Error(err)
			}
		})
	}
	group.Wait()
	if st.client.Err() != nil {
		st.Fatal(st.client.Err())
	}
}

func testCancelled(st *storeTest) {
	ctx, cancel := context.WithCancel(st.ctx)
	cancel()
	_, err := st.client.Read(ctx, st.dir)
	st.is(err, context.Canceled)
	for range 50 {
		ctx, cancel := context.WithCancel(st.ctx)
		go cancel()
		if _, err := st.client.Read(ctx, st.dir); err != nil {
			st.is(err, context.Canceled)
		}
		if err := st.client.Transaction(ctx, func(*xenstore.Tx) error { return nil }); err != nil {
			st.is(err, context.Canceled)
		}
		if w, err := st.client.Watch(ctx, st.dir); err != nil {
			st.is(err, context.Canceled)
		} else {
			st.must(w.Close())
		}
	}
	st.read(st.client, st.dir, "")
}

func testIntroduced(st *storeTest) {
	for domain, want := range map[xen.DomID]bool{0: true, xen.DomIDFirstReserved - 1: false} {
		got, err := st.client.IsIntroduced(st.ctx, domain)
		st.must(err)
		if got != want {
			st.Fatalf("introduced(%v) is %v", domain, got)
		}
	}
}
