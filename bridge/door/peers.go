package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"xvsock/bridge"
	"xvsock/xen"
)

const (
	peerDir    = "peer"
	peerSuffix = ".sock"
	// maxPeers bounds the sockets: each is a descriptor and a goroutine.
	maxPeers = 1024
	// maxName bounds the names of files that domains' names are made to.
	maxName = 64
	// A socket that cannot be made, as when there is no descriptor, is tried again after
	// the pause, then after twice as long each time, so often.
	againPause = time.Second
	againTries = 10
)

// Peer is a domain that has a socket of its own.
type Peer struct {
	ID   xen.DomID
	Name string // may be empty, or another's too
}

// peers are the sockets of peers, below the directory of the main one. While the main
// one's lock is held nobody else of this kind makes files there.
type peers struct {
	server *Server

	mu    sync.Mutex
	want  []Peer
	dir   string // empty: not open
	made  map[xen.DomID]*peerSocket
	again *time.Timer // arranges again; nil: need not
	tries int         // how often it has
	work  sync.WaitGroup
}

// peerSocket is the socket of a peer.
type peerSocket struct {
	l    *net.UnixListener
	link string // the name of the link to it; may be empty
}

// open makes the sockets.
func (p *peers) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir := filepath.Join(filepath.Dir(p.server.cfg.Path), peerDir)
	if err := ownDir(dir); err != nil {
		p.server.cfg.Log.Warn("no sockets for single peers", "error", err)
		return
	}
	p.dir, p.tries = dir, 0
	p.sweep()
	p.arrange(p.want)
}

// close takes the sockets away. Their clients are the Server's.
func (p *peers) close() {
	p.mu.Lock()
	if p.dir != "" {
		p.arrange(nil)
		_ = os.Remove(p.dir) // it stays if others have put something there
		p.dir = ""
	}
	p.mu.Unlock()
	p.work.Wait()
}

// set says which there are to be.
func (p *peers) set(all []Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = append([]Peer(nil), all[:min(len(all), maxPeers)]...)
	if p.dir != "" {
		p.tries = 0
		p.arrange(p.want)
	}
}

// arrange makes what is missing, and takes away what is not wanted. The caller holds mu.
func (p *peers) arrange(want []Peer) {
	links := linksOf(want)
	keep := make(map[xen.DomID]bool, len(want))
	for _, w := range want {
		keep[w.ID] = true
	}
	for id, socket := range p.made {
		if socket.link != "" && (!keep[id] || socket.link != links[id]) {
			p.remove(socket.link)
			socket.link = ""
		}
		if !keep[id] {
			socket.l.Close()
			p.remove(id.String())
			delete(p.made, id)
		}
	}
	missing, why := 0, error(nil)
	for id := range keep {
		if err := p.make(id, links[id]); err != nil {
			missing, why = missing+1, fmt.Errorf("domain %v: %w", id, err)
		}
	}
	p.retry(missing, why)
}

// retry sees to it that what is missing is tried again. The caller holds mu.
func (p *peers) retry(missing int, why error) {
	if p.again != nil && p.again.Stop() {
		p.work.Done()
	}
	p.again = nil
	if missing == 0 {
		return
	}
	log := p.server.cfg.Log
	if p.tries == againTries {
		log.Warn("no sockets for some peers; they are tried again when peers change", "peers", missing, "error", why)
		return
	}
	pause := againPause << p.tries
	p.tries++
	log.Warn("no sockets for some peers for now", "peers", missing, "error", why, "again_in", pause)
	p.work.Add(1)
	p.again = time.AfterFunc(pause, p.tryAgain)
}

// tryAgain makes what could not be made before.
func (p *peers) tryAgain() {
	defer p.work.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir != "" {
		p.arrange(p.want)
	}
}

// make makes a peer's socket and the link to it, what of it is missing.
func (p *peers) make(id xen.DomID, link string) error {
	socket := p.made[id]
	if socket == nil {
		l, err := bridge.ListenLocked(p.path(id.String()), p.server.access())
		if err != nil {
			return err
		}
		socket = &peerSocket{l: l}
		p.made[id] = socket
		// The context is for pauses, and no end: that is the listener's.
		p.work.Go(func() { p.server.accept(context.Background(), l, id.String()) })
	}
	if link == "" || socket.link == link {
		return nil
	}
	if err := os.Symlink(id.String()+peerSuffix, p.path(link)); err != nil {
		return err
	}
	socket.link = link
	return nil
}

// path is the path of a name's file.
func (p *peers) path(name string) string { return filepath.Join(p.dir, name+peerSuffix) }

// remove removes a name's file.
func (p *peers) remove(name string) {
	if err := os.Remove(p.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.server.cfg.Log.Warn("socket of a peer that is gone cannot be removed", "error", err)
	}
}

// sweep removes what a daemon left that was killed: sockets and links, and nothing else.
func (p *peers) sweep() {
	entries, _ := os.ReadDir(p.dir) // what is in the way will be said then
	for _, e := range entries {
		if t := e.Type(); t == fs.ModeSocket || t == fs.ModeSymlink {
			_ = os.Remove(filepath.Join(p.dir, e.Name()))
		}
	}
}

// ownDir makes a directory in which nobody but this process's user can put anything, or
// returns an error if another is there.
func ownDir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory of this user that no other can write to: remove it", dir)
	}
	return nil
}

// linksOf gives a link to each peer whose name can be a file's, and is no other's.
func linksOf(all []Peer) map[xen.DomID]string {
	count := make(map[string]int)
	for _, p := range all {
		count[p.Name]++
	}
	links := make(map[xen.DomID]string)
	for _, p := range all {
		if count[p.Name] == 1 && fileName(p.Name) {
			links[p.ID] = p.Name
		}
	}
	return links
}

// fileName reports whether a domain's name can be a file's that nobody takes for an id, or
// for this domain.
func fileName(name string) bool {
	if name == "" || len(name) > maxName || name[0] == '.' || name[0] == '-' || name == "self" || isNumber(name) {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// isNumber reports whether a name can be taken for an id or a CID: digits, however many
// zeros come first, or what begins as a hexadecimal number does.
func isNumber(name string) bool {
	return strings.Trim(name, "0123456789") == "" || strings.HasPrefix(strings.ToLower(name), "0x")
}
