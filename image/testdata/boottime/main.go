// Command boottime creates a guest in dom0 and measures how long that takes, from just
// before xl create until the guest has printed a line or has answered discovery:
//
//	boottime CONFIG NAME line TEXT
//	boottime CONFIG NAME discovery
//
// It prints a JSON object, see result. It waits by events (inotify of the console's
// log, a watch of the backend's directory in xenstore) so that waiting takes nothing
// from the guest on a small machine.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// patience bounds all of it: long, for a machine that has other things to do.
const patience = 2 * time.Minute

// result is what boottime prints. All are seconds since just before xl create.
type result struct {
	Created  float64 // xl create returned
	Linked   float64 // discovery only: the backend's state became Connected
	Answered float64 // the line was in the log, or the answer was received
	Tries    int     // discovery only: how often it was asked
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "boottime: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("use boottime CONFIG NAME line TEXT, or CONFIG NAME discovery")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	wait, err := waiter(ctx, args[1], args[2:])
	if err != nil {
		return err
	}
	var r result
	begin := time.Now()
	since := func() float64 { return time.Since(begin).Seconds() }
	created := make(chan error, 1)
	go func() {
		out, err := exec.CommandContext(ctx, "xl", "create", args[0]).CombinedOutput()
		r.Created = since()
		if err != nil {
			err = fmt.Errorf("xl create: %w: %s", err, out)
			cancel()
		}
		created <- err
	}()
	err = wait(ctx, &r, since)
	if err := errors.Join(<-created, err); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// wait waits for what ends the measurement and enters the times.
type wait func(ctx context.Context, r *result, since func() float64) error

// waiter prepares to wait, before the guest is there.
func waiter(ctx context.Context, name string, what []string) (wait, error) {
	switch {
	case len(what) == 2 && what[0] == "line":
		return forLine(filepath.Join("/var/log/xen/console", "guest-"+name+".log"), what[1])
	case len(what) == 1 && what[0] == "discovery":
		return forAnswer(ctx, name)
	}
	return nil, fmt.Errorf("wait for %q: no such thing", what)
}

// forLine waits for a line with text in a log that grows.
func forLine(path, text string) (wait, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CREATE|unix.IN_MODIFY); err != nil {
		return nil, err
	}
	return func(ctx context.Context, r *result, since func() float64) error {
		context.AfterFunc(ctx, func() { _ = events.Close() })
		for buf := make([]byte, 64<<10); ; {
			if _, err := events.Read(buf); err != nil {
				return fmt.Errorf("wait for a line in %s: %w", path, err)
			}
			log, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if _, after, ok := bytes.Cut(log, []byte(text)); ok && bytes.ContainsRune(after, '\n') {
				r.Answered = since()
				return nil
			}
		}
	}, nil
}

// frontends is where the nodes of the backend in dom0 are.
const frontends = "/local/domain/0/backend/xvsock"

// forAnswer waits until the guest's link is up, then asks its port 2 through the
// daemon until it answers.
func forAnswer(ctx context.Context, name string) (wait, error) {
	store, err := xenstore.Open()
	if err != nil {
		return nil, err
	}
	watch, err := store.Watch(ctx, frontends)
	if err != nil {
		return nil, err
	}
	control, err := bridge.DialControl(bridge.ControlPath)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, r *result, since func() float64) error {
		if err := linked(ctx, store, watch); err != nil {
			return fmt.Errorf("wait for the link: %w", err)
		}
		r.Linked = since()
		for {
			r.Tries++
			var services daemon.ServicesReply
			err := control.Call(ctx, daemon.MethodServices, daemon.ServicesArgs{Domain: name}, &services)
			if err == nil && len(services.Services) > 0 {
				r.Answered = since()
				return nil
			}
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return fmt.Errorf("ask for the services of %s: %w", name, err)
			}
			time.Sleep(time.Millisecond)
		}
	}, nil
}

// linked waits until a frontend's state at the backend is Connected. There is one guest
// at a time.
func linked(ctx context.Context, store *xenstore.Client, watch *xenstore.Watch) error {
	for {
		select {
		case <-watch.Changed():
		case <-ctx.Done():
			return ctx.Err()
		}
		ids, err := store.List(ctx, frontends)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, id := range ids {
			state, err := store.Read(ctx, frontends+"/"+id+"/0/state")
			if err == nil && string(state) == strconv.Itoa(int(xenbus.Connected)) {
				return nil
			}
		}
	}
}
