package xenstore_test

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"xvsock/xenstore"
)

func TestALongListIsReadInParts(t *testing.T) {
	type step struct{ offset, part string }
	for _, c := range []struct {
		name  string
		steps []step
		want  []string
		err   error
	}{
		{"in two parts", []step{{"0", "5\x00a\x00bc\x00"}, {"5", "5\x00d\x00\x00"}}, []string{"a", "bc", "d"}, nil},
		{"that has become empty", []step{{"0", "5\x00\x00"}}, nil, nil},
		{"whose end is found behind it", []step{{"0", "5\x00a\x00"}, {"2", "5\x00\x00"}}, []string{"a"}, nil},
		{"that changes is read again", []step{
			{"0", "5\x00a\x00"}, {"2", "6\x00b\x00\x00"}, {"0", "6\x00x\x00\x00"}}, []string{"x"}, nil},
		{"with a part of nothing", []step{{"0", "5\x00"}}, nil, xenstore.ErrProtocol},
		{"with a part that does not end", []step{{"0", "5\x00a"}}, nil, xenstore.ErrProtocol},
		{"with a part without a generation", []step{{"0", "\x00a\x00"}}, nil, xenstore.ErrProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, client := newDaemon(t, xenstore.Config{})
				var names []string
				done := doing(func() (err error) { names, err = client.List(t.Context(), "/a"); return err })
				d.refuse(d.expect(xenstore.OpDirectory, "/a\x00"), "E2BIG")
				for _, s := range c.steps {
					d.reply(d.expect(xenstore.OpDirectoryPart, "/a\x00"+s.offset+"\x00"), s.part)
				}
				err := <-done
				if c.err == nil && err != nil {
					t.Fatal(err)
				} else if c.err != nil {
					wantError(t, err, c.err)
				}
				if !slices.Equal(names, c.want) {
					t.Fatalf("list is %q, want %q", names, c.want)
				}
			})
		})
	}
}

func TestAListIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		generation func(n int) string
		err        error
	}{
		"one that never ends":           {func(int) string { return "5" }, xenstore.ErrProtocol},
		"one that always changes again": {func(n int) string { return string(rune('a' + n%2)) }, syscall.EAGAIN},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, client := newDaemon(t, xenstore.Config{})
				go func() {
					n, names := 0, make([]byte, 4000)
					for i := range names {
						names[i] = "x\x00"[i%2]
					}
					for r := range d.requests {
						if r.Op == xenstore.OpDirectory {
							d.refuse(r, "E2BIG")
							continue
						}
						d.reply(r, c.generation(n)+"\x00"+string(names))
						n++
					}
				}()
				_, err := client.List(t.Context(), "/a")
				wantError(t, err, c.err)
			})
		})
	}
}
