// Command ceiling measures the most that GRANT_COPY moves between two domains: a loop
// that does nothing else, in full batches.
//
//	ceiling share DOMID            grants pages to a domain until it is killed, and prints their references
//	ceiling copy DOMID TIME REF... copies them over and over, and prints JSON
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"xvsock/grant"
	"xvsock/xen"
)

const (
	batch      = 16 // segments that cost one hypercall
	clockEvery = 16 // batches; reading the clock may be a system call
)

var errUsage = fmt.Errorf("use ceiling share DOMID, or ceiling copy DOMID TIME and %d references", batch)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "ceiling: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	id, err := strconv.ParseUint(args[1], 10, 15)
	if err != nil {
		return fmt.Errorf("domain id: %w", err)
	}
	device, err := grant.Open(grant.Config{})
	if err != nil {
		return err
	}
	defer device.Close()
	switch {
	case args[0] == "share" && len(args) == 2:
		return share(device, xen.DomID(id))
	case args[0] == "copy" && len(args) == 3+batch:
		return measure(device, xen.DomID(id), args[2], args[3:])
	}
	return errUsage
}

// share grants a batch of pages and never returns.
func share(device *grant.Kernel, to xen.DomID) error {
	pages, err := device.Share(to, batch, grant.ReadOnly)
	if err != nil {
		return err
	}
	for i := range pages.Bytes() {
		pages.Bytes()[i] = byte(i)
	}
	var line []byte
	for _, ref := range pages.Refs() {
		line = strconv.AppendUint(append(line, ' '), uint64(ref), 10)
	}
	// In one write: who waits for it has all of it, or nothing.
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		return err
	}
	for { // it is killed: pages that are not referred to any more may not go
		time.Sleep(time.Hour)
		_ = pages.Refs()
	}
}

// measure copies for a time.
func measure(device *grant.Kernel, from xen.DomID, how string, refs []string) error {
	limit, err := time.ParseDuration(how)
	if err != nil {
		return fmt.Errorf("time: %w", err)
	}
	segments := make([]grant.Segment, batch)
	for i, text := range refs {
		ref, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("reference: %w", err)
		}
		segments[i] = grant.Segment{Local: make([]byte, xen.PageSize), Domain: from, Ref: grant.Ref(ref)}
	}
	start, batches := time.Now(), 0
	var took time.Duration
	for took < limit {
		for range clockEvery {
			if err := device.Copy(segments); err != nil {
				return err
			}
		}
		batches += clockEvery
		took = time.Since(start)
	}
	return json.NewEncoder(os.Stdout).Encode([]any{map[string]any{
		"case": "ceiling", "size": batch * xen.PageSize, "count": batches, "seconds": took.Seconds(),
		"mb_s": float64(batches) * batch * xen.PageSize / took.Seconds() / 1e6,
	}})
}
