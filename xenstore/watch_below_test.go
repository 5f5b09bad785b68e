package xenstore_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"xvsock/xenstore"
)

func TestAWatchSaysWhichChildrenHaveChanged(t *testing.T) {
	var many, tooMany []string
	for i := range 1025 {
		tooMany = append(tooMany, fmt.Sprint("/a/b/", i))
	}
	many = tooMany[:1024]
	names := make([]string, len(many))
	for i := range many {
		names[i] = fmt.Sprint(i)
	}
	for _, c := range []struct {
		name   string
		events []string
		want   []string
		all    bool
	}{
		{"nothing", nil, nil, false},
		{"a child", []string{"/a/b/1"}, []string{"1"}, false},
		{"nodes far below children", []string{"/a/b/1/0/state", "/a/b/2/0/online"}, []string{"1", "2"}, false},
		{"a child again and again", []string{"/a/b/1/x", "/a/b/2", "/a/b/1/y", "/a/b/1"}, []string{"1", "2"}, false},
		{"the node itself", []string{"/a/b/1", "/a/b", "/a/b/2"}, []string{"1", "", "2"}, false},
		{"one above it", []string{"/a"}, nil, true},
		{"another that begins as it does", []string{"/a/bc/1"}, nil, true},
		{"as many as are kept, twice", slices.Concat(many, many), names, false},
		{"one more than are kept", tooMany, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, client := newDaemon(t, xenstore.Config{})
				w := watching(d, "/a/b", "1", func() (*xenstore.Watch, error) { return client.WatchBelow(t.Context(), "/a/b") })
				want(t, fired(w), true)
				wantChanged(t, w, nil, true) // it was set
				want(t, fired(w), false)
				for _, path := range c.events {
					d.send(xenstore.OpWatchEvent, 0, path+"\x001\x00")
				}
				want(t, fired(w), c.events != nil)
				wantChanged(t, w, c.want, c.all)
				wantChanged(t, w, nil, false)
				d.send(xenstore.OpWatchEvent, 0, "/a/b/9/0\x001\x00")
				want(t, fired(w), true)
				wantChanged(t, w, []string{"9"}, false)
			})
		})
	}
}

// wantChanged takes what has changed below a watch, once all events have come.
func wantChanged(t *testing.T, w *xenstore.Watch, names []string, all bool) {
	t.Helper()
	fired(w)
	if got, any := w.TakeChanged(); !slices.Equal(got, names) || any != all {
		t.Errorf("changed: %d names %.40q, any: %v; want %d names %.40q, %v", len(got), got, any, len(names), names, all)
	}
}

func TestAChangeMayBeAnywhere(t *testing.T) {
	for _, c := range []struct {
		name  string
		watch func(*xenstore.Client, context.Context) (*xenstore.Watch, error)
		after func(*daemon)
	}{
		{"by a watch that keeps no names", func(c *xenstore.Client, ctx context.Context) (*xenstore.Watch, error) {
			return c.Watch(ctx, "/a/b")
		}, func(d *daemon) { d.send(xenstore.OpWatchEvent, 0, "/a/b/1\x001\x00") }},
		{"when the connection has ended", func(c *xenstore.Client, ctx context.Context) (*xenstore.Watch, error) {
			return c.WatchBelow(ctx, "/a/b")
		}, func(d *daemon) { d.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, client := newDaemon(t, xenstore.Config{})
				w := watching(d, "/a/b", "1", func() (*xenstore.Watch, error) { return c.watch(client, t.Context()) })
				wantChanged(t, w, nil, true)
				c.after(d)
				want(t, fired(w), true)
				wantChanged(t, w, nil, true)
			})
		})
	}
}
