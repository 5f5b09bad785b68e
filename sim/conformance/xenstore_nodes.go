package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"xvsock/xenstore"
)

func testValues(st *storeTest) {
	for _, value := range []string{"", "1", "two words", "a\x00b\x00", "\xff\x1b[31m\n", strings.Repeat("x", 1500)} {
		st.must(st.client.Write(st.ctx, st.dir+"/value", value))
		st.read(st.client, st.dir+"/value", value)
	}
}

func testMissing(st *storeTest) {
	_, err := st.client.Read(st.ctx, st.dir+"/none")
	st.is(err, fs.ErrNotExist)
	_, err = st.client.List(st.ctx, st.dir+"/none")
	st.is(err, fs.ErrNotExist)
	_, err = st.client.GetPermissions(st.ctx, st.dir+"/none")
	st.is(err, fs.ErrNotExist)
}

func testParents(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a/b/c", "1"))
	st.read(st.client, st.dir+"/a/b", "")
	st.must(st.client.Mkdir(st.ctx, st.dir+"/a/b/c"))
	st.read(st.client, st.dir+"/a/b/c", "1")
	st.must(st.client.Mkdir(st.ctx, st.dir+"/a/d"))
	names, err := st.client.List(st.ctx, st.dir+"/a")
	st.must(err)
	slices.Sort(names)
	if !slices.Equal(names, []string{"b", "d"}) {
		st.Fatalf("list is %q", names)
	}
	names, err = st.client.List(st.ctx, st.dir+"/a/d")
	st.must(err)
	if len(names) != 0 {
		st.Fatalf("list of an empty node is %q", names)
	}
}

func testRemove(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a/b/c", "1"))
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	for _, path := range []string{"/a", "/a/b", "/a/b/c"} {
		_, err := st.client.Read(st.ctx, st.dir+path)
		st.is(err, fs.ErrNotExist)
	}
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.is(st.client.Remove(st.ctx, st.dir+"/a/b"), fs.ErrNotExist)
	names, err := st.client.List(st.ctx, st.dir)
	st.must(err)
	if len(names) != 0 {
		st.Fatalf("left: %q", names)
	}
}

func testBadPaths(st *storeTest) {
	for _, path := range []string{
		"", st.dir + "/", st.dir + "//a", st.dir + "/a.b", st.dir + "/a b", st.dir + "/a\x00b", st.dir + "/\xc3\xa4",
		st.dir + "/" + strings.Repeat("a", xenstore.MaxPath),
	} {
		if err := st.client.Write(st.ctx, path, "1"); err == nil {
			st.Fatalf("%.60q was taken", path)
		}
	}
	st.read(st.client, st.dir, "")
}

func testRelative(st *storeTest) {
	home, err := st.client.DomainPath(st.ctx, st.Domain)
	st.must(err)
	if want := "/local/domain/" + st.Domain.String(); home != want {
		st.Fatalf("domain path is %q, want %q", home, want)
	}
	relative, ok := strings.CutPrefix(st.dir, home+"/")
	if !ok {
		st.Fatalf("%s is not below %s", st.dir, home)
	}
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.read(st.client, relative+"/a", "1")
	w := st.watch(st.client, relative+"/a")
	st.must(st.client.Write(st.ctx, relative+"/a", "2"))
	st.fires(w)
	st.read(st.client, st.dir+"/a", "2")
}

func testInherit(st *storeTest) {
	list := []xenstore.Permission{{Domain: st.Domain, Read: true}, {Domain: 0, Write: true}}
	st.must(st.client.SetPermissions(st.ctx, st.dir, list...))
	st.must(st.client.Write(st.ctx, st.dir+"/a/b", "1"))
	for _, path := range []string{"", "/a", "/a/b"} {
		got, err := st.client.GetPermissions(st.ctx, st.dir+path)
		st.must(err)
		if !slices.Equal(got, list) {
			st.Fatalf("permissions of %s are %v, want %v", path, got, list)
		}
	}
}

func testLongList(st *storeTest) {
	want := make([]string, 150)
	for i := range want {
		want[i] = fmt.Sprintf("node-%03d-%s", i, strings.Repeat("x", 50))
		st.must(st.client.Mkdir(st.ctx, st.dir+"/"+want[i]))
	}
	got, err := st.client.List(st.ctx, st.dir)
	st.must(err)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		st.Fatalf("list has %d names, want %d", len(got), len(want))
	}
	st.must(st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		got, err := tx.List(st.ctx, st.dir)
		if err == nil && len(got) != len(want) {
			err = fmt.Errorf("list in a transaction has %d names, want %d", len(got), len(want))
		}
		return err
	}))
}

func testForbidden(st *storeTest) {
	_, err := st.client.Read(st.ctx, "/tool/xenstored")
	st.is(err, fs.ErrPermission)
	st.is(st.client.Write(st.ctx, "/tool/mine", "1"), fs.ErrPermission)
	st.is(st.client.Write(st.ctx, "/local/domain/0/mine", "1"), fs.ErrPermission)
	st.is(st.client.SetPermissions(st.ctx, st.dir, xenstore.Permission{Domain: 0}), fs.ErrPermission)
	_, err = st.client.IsIntroduced(st.ctx, 0)
	st.is(err, fs.ErrPermission)
	id, err := st.client.DomID(st.ctx)
	st.must(err)
	if id != st.Domain {
		st.Fatalf("domid is %v, want %v", id, st.Domain)
	}
}

func testNodeQuota(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a", strings.Repeat("x", 1900)))
	st.is(st.client.Write(st.ctx, st.dir+"/a", strings.Repeat("x", 2048)), xenstore.ErrQuota)
	st.is(st.client.Write(st.ctx, st.dir+"/a", strings.Repeat("x", xenstore.MaxPayload)), xenstore.ErrTooLong)
	st.read(st.client, st.dir+"/a", strings.Repeat("x", 1900))
}

func testPermissions(st *storeTest) {
	other := st.open(st.Other)
	node := st.dir + "/a"
	st.must(st.client.Write(st.ctx, node, "1"))
	for _, c := range []struct {
		name            string
		permissions     []xenstore.Permission
		mayRead, mayPut bool
	}{
		{"nobody", []xenstore.Permission{{Domain: st.Domain}}, false, false},
		{"default read", []xenstore.Permission{{Domain: st.Domain, Read: true}}, true, false},
		{"named read", []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Read: true}}, true, false},
		{"named write", []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Write: true}}, false, true},
		{"named both", []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Read: true, Write: true}}, true, true},
		{"named none against default", []xenstore.Permission{{Domain: st.Domain, Read: true}, {Domain: st.OtherDomain}}, false, false},
	} {
		st.must(st.client.SetPermissions(st.ctx, node, c.permissions...))
		_, err := other.Read(st.ctx, node)
		if c.mayRead != (err == nil) || err != nil && !errors.Is(err, fs.ErrPermission) {
			st.Errorf("%s: read gives %v", c.name, err)
		}
		err = other.Write(st.ctx, node, "2")
		if c.mayPut != (err == nil) || err != nil && !errors.Is(err, fs.ErrPermission) {
			st.Errorf("%s: write gives %v", c.name, err)
		}
		err = other.SetPermissions(st.ctx, node, xenstore.Permission{Domain: st.OtherDomain})
		st.is(err, fs.ErrPermission)
	}
}
