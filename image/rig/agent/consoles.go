package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"xvsock/image/rig/wire"
)

// consolePiece is how much of a console goes into one frame; JSON makes it a
// third larger.
const consolePiece = 32 << 10

// followConsoles tells the rig what every guest says, as soon as xenconsoled
// has written it to dir/guest-NAME.log.
func followConsoles(dir string, out *wire.Writer) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("follow consoles: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MODIFY); err != nil {
		return fmt.Errorf("follow consoles in %s: %w", dir, err)
	}
	f := follower{dir: dir, out: out, at: make(map[string]int64)}
	go f.run(os.NewFile(uintptr(fd), "inotify"))
	return nil
}

type follower struct {
	dir string
	out *wire.Writer
	at  map[string]int64 // file name -> bytes told
}

func (f *follower) run(events io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := events.Read(buf)
		if err != nil {
			log.Printf("follow consoles: %v", err)
			return
		}
		for _, name := range changedNames(buf[:n]) {
			if err := f.tell(name); err != nil {
				log.Printf("follow console %s: %v", name, err)
			}
		}
	}
}

// changedNames gives the names in a read from inotify(7), each once. An event
// is four 32-bit words, the last the length of the name that follows, padded
// with NUL.
func changedNames(events []byte) []string {
	var names []string
	seen := make(map[string]bool)
	for len(events) >= unix.SizeofInotifyEvent {
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if end > len(events) {
			break
		}
		name := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
		events = events[end:]
	}
	return names
}

// tell sends what the file name has got since the last time.
func (f *follower) tell(name string) error {
	guest, ok := strings.CutPrefix(name, "guest-")
	if !ok {
		return nil
	}
	guest, ok = strings.CutSuffix(guest, ".log")
	if !ok {
		return nil
	}
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return err
	}
	defer file.Close()
	buf := make([]byte, consolePiece)
	for {
		n, err := file.ReadAt(buf, f.at[name])
		if n > 0 {
			f.at[name] += int64(n)
			if err := f.out.WriteJSON(0, wire.KindConsole, wire.Console{Guest: guest, Text: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
