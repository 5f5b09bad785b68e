package toolstack

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"xvsock/xen"
	"xvsock/xenstore"
)

// Bounds of what is read of what a domain says of its boot.
const (
	maxProblems = 32   // lines about its settings
	maxBootText = 1024 // bytes of each
)

// Boot is what a service domain says of its boot. All of it is the domain's own
// text, which may be any bytes and need not be true: it is to be escaped where it
// is shown, and nothing may be decided by it.
type Boot struct {
	State    string   // "booting", "ready", "failed" or "stopping"; empty: it says nothing
	Failure  string   // why it cannot go on; empty: nothing
	Problems []string // what is wrong with its settings, in its order
}

// BootDir is where a domain says how its boot goes, below its home: libxl makes
// "data" the domain's own, the one place there that it may write to.
const BootDir = "data/xvsock"

// BootPath is BootDir of domain id.
func BootPath(id xen.DomID) string { return "/local/domain/" + id.String() + "/" + BootDir }

// ReadBoot reads what domain id says of its boot. What is too long is cut, and of
// too many lines the last are left out. Saying nothing is no error.
func ReadBoot(ctx context.Context, store *xenstore.Client, id xen.DomID) (b Boot, err error) {
	dir := BootPath(id)
	text := func(node string) (v string) {
		if err == nil {
			v, err = optional(store.Read(ctx, dir+"/"+node))
		}
		return v[:min(len(v), maxBootText)]
	}
	b.State, b.Failure = text("state"), text("failure")
	if err == nil {
		var names []string
		names, err = store.List(ctx, dir+"/problem")
		err = absentIsFine(err)
		slices.SortFunc(names, inOrder)
		for _, name := range names[:min(len(names), maxProblems)] {
			if line := text("problem/" + name); line != "" {
				b.Problems = append(b.Problems, line)
			}
		}
	}
	if err != nil {
		return Boot{}, fmt.Errorf("read the boot of domain %v: %w", id, err)
	}
	return b, nil
}

// inOrder compares the names of numbered nodes.
func inOrder(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) }
