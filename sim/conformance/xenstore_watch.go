package conformance

import (
	"io/fs"

	"xvsock/xenstore"
)

func testWatch(st *storeTest) {
	a, b := st.watch(st.client, st.dir+"/a"), st.watch(st.client, st.dir+"/b")
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.fires(a)
	st.must(st.client.Write(st.ctx, st.dir+"/a/below", "1"))
	st.fires(a)
	st.must(st.client.SetPermissions(st.ctx, st.dir+"/a", xenstore.Permission{Domain: st.Domain, Read: true}))
	st.fires(a)
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.fires(a)
	st.must(st.client.Write(st.ctx, st.dir+"/ab", "1"))
	st.silent(a)
	st.silent(b)
}

func testWatchRemoval(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a/b/c", "1"))
	w := st.watch(st.client, st.dir+"/a/b/c")
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.fires(w)
}

func testWatchTwice(st *storeTest) {
	one, two := st.watch(st.client, st.dir+"/a"), st.watch(st.client, st.dir+"/a")
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.fires(one)
	st.fires(two)
	st.must(one.Close())
	st.must(st.client.Write(st.ctx, st.dir+"/a", "2"))
	st.fires(two)
}

func testWatchClose(st *storeTest) {
	w := st.watch(st.client, st.dir+"/a")
	st.must(w.Close())
	st.must(w.Close())
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.silent(w)
	for range 300 { // more than the quota of watches
		w, err := st.client.Watch(st.ctx, st.dir+"/a")
		st.must(err)
		st.must(w.Close())
	}
}

func testWatchSpecial(st *storeTest) {
	st.watch(st.client, "@introduceDomain")
	st.watch(st.client, "@releaseDomain")
}

func testWatchResume(st *storeTest) {
	w, err := st.client.WatchResume(st.ctx)
	st.must(err)
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.silent(w)
	st.must(w.Close())
}

func testWatchQuota(st *storeTest) {
	var err error
	for range 200 {
		var w *xenstore.Watch
		if w, err = st.client.Watch(st.ctx, st.dir+"/a"); err != nil {
			break
		}
		defer w.Close()
	}
	st.is(err, xenstore.ErrQuota)
	st.read(st.client, st.dir, "")
}

func testForeignWatch(st *storeTest) {
	other := st.open(st.Other)
	st.must(st.client.Write(st.ctx, st.dir+"/a/state", "1"))
	w := st.watch(other, st.dir+"/a/state")
	readable := []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Read: true}}
	st.must(st.client.SetPermissions(st.ctx, st.dir+"/a/state", readable...))
	st.fires(w)
	st.must(st.client.Write(st.ctx, st.dir+"/a/state", "2"))
	st.fires(w)
	st.read(other, st.dir+"/a/state", "2")
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.fires(w)
	_, err := other.Read(st.ctx, st.dir+"/a/state")
	st.is(err, fs.ErrPermission)
}
