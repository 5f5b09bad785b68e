package door_test

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"xvsock/bridge/door"
	"xvsock/xen"
)

// peerFiles lists what is in the directory of the peers' sockets.
func peerFiles(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(path), "peer"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAPeerHasASocketOfItsOwn(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	w.door.SetPeers([]door.Peer{{ID: 0, Name: "dom0"}})
	dir := filepath.Join(filepath.Dir(w.path), "peer")
	for _, name := range []string{"0.sock", "dom0.sock"} {
		c := connect(t, filepath.Join(dir, name), "CONNECT 7\nhello")
		c.CloseWrite()
		c.begins("OK ")
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for say, want := range map[string]string{
			"CONNECT self 7\n": "ERR EINVAL this socket is one domain's",
			"LISTEN 5000\n":    "ERR EINVAL this socket is one domain's",
			"CONNECT 1\n":      "ERR EACCES ",
		} {
			c := connect(t, filepath.Join(dir, name), say)
			c.begins(want)
			c.ended()
		}
	}
}

func TestSocketsFollowThePeers(t *testing.T) {
	w := newWorld(t, door.Config{})
	long := strings.Repeat("n", 65)
	for _, step := range []struct {
		what  string
		peers []door.Peer
		want  []string
	}{
		{"none", nil, nil},
		{"two", []door.Peer{{ID: 5, Name: "db1"}, {ID: 6, Name: ""}}, []string{"5.sock", "6.sock", "db1.sock"}},
		{"the same", []door.Peer{{ID: 5, Name: "db1"}, {ID: 6, Name: ""}}, []string{"5.sock", "6.sock", "db1.sock"}},
		{"another name", []door.Peer{{ID: 5, Name: "db2"}, {ID: 6, Name: "db1"}}, []string{"5.sock", "6.sock", "db1.sock", "db2.sock"}},
		{"one name twice", []door.Peer{{ID: 5, Name: "db1"}, {ID: 6, Name: "db1"}}, []string{"5.sock", "6.sock"}},
		{"names that are no files'", []door.Peer{{ID: 5, Name: "../../etc"}, {ID: 6, Name: "a/b"}, {ID: 7, Name: ".."}, {ID: 8, Name: "-rf"}, {ID: 9, Name: "a b"}, {ID: 10, Name: "ä"}, {ID: 11, Name: long}, {ID: 12, Name: "a\x00"}},
			[]string{"10.sock", "11.sock", "12.sock", "5.sock", "6.sock", "7.sock", "8.sock", "9.sock"}},
		{"names that are numbers", []door.Peer{{ID: 5, Name: "6"}, {ID: 6, Name: "0x5"}, {ID: 7, Name: "007"}}, []string{"5.sock", "6.sock", "7.sock"}},
		{"more of them", []door.Peer{{ID: 5, Name: "08"}, {ID: 6, Name: "0X9"}, {ID: 7, Name: "99999999999999999999"}, {ID: 8, Name: "0b1x"}}, []string{"0b1x.sock", "5.sock", "6.sock", "7.sock", "8.sock"}},
		{"the name of this domain", []door.Peer{{ID: 5, Name: "self"}}, []string{"5.sock"}},
		{"one is gone", []door.Peer{{ID: 6, Name: "db-1.x_Y"}}, []string{"6.sock", "db-1.x_Y.sock"}},
		{"all are", nil, nil},
	} {
		w.door.SetPeers(step.peers)
		if got := peerFiles(t, w.path); !slices.Equal(got, step.want) {
			t.Errorf("%s: %v; want %v", step.what, got, step.want)
		}
	}
	w.door.SetPeers([]door.Peer{{ID: 5, Name: "db1"}})
	w.stop()
	if exists(filepath.Join(filepath.Dir(w.path), "peer")) || exists(w.path) {
		t.Error("something is left after the end")
	}
	w.door.SetPeers([]door.Peer{{ID: 6, Name: "db2"}})
	if exists(filepath.Join(filepath.Dir(w.path), "peer")) {
		t.Error("sockets are made after the end")
	}
}

// What cannot be made for now, as when the daemon is out of descriptors, is made later.
func TestASocketThatCannotBeMadeIsTriedAgain(t *testing.T) {
	dir := tempDir(t)
	path, peers := filepath.Join(dir, "s"), filepath.Join(dir, "peer")
	inTheWay := filepath.Join(peers, "5.sock.new", "x")
	if err := os.MkdirAll(inTheWay, 0o755); err != nil {
		t.Fatal(err)
	}
	log := &record{}
	s := door.New(door.Config{Path: path, Resolve: resolve, Log: slog.New(slog.NewTextHandler(log, nil))})
	s.SetPeers([]door.Peer{{ID: 5, Name: "db1"}, {ID: 6}})
	stop := run(t, s, newHanging(), path)
	await(t, "the other's socket", func() bool { return exists(filepath.Join(peers, "6.sock")) })
	if exists(filepath.Join(peers, "5.sock")) {
		t.Fatal("a socket is where none can be")
	}
	if err := os.RemoveAll(filepath.Dir(inTheWay)); err != nil {
		t.Fatal(err)
	}
	await(t, "the socket", func() bool { return exists(filepath.Join(peers, "db1.sock")) })
	if said := log.String(); strings.Count(said, "no sockets for some peers for now") != 1 || !strings.Contains(said, "domain 5: ") {
		t.Errorf("the log says %s", said)
	}
	// An end does not wait for another try.
	if err := os.MkdirAll(filepath.Join(peers, "7.sock.new", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.SetPeers([]door.Peer{{ID: 7}})
	began := time.Now()
	if stop(); time.Since(began) > 500*time.Millisecond {
		t.Errorf("the end took %v", time.Since(began))
	}
}

func TestThereAreNotMoreSocketsThanABound(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	s := door.New(door.Config{Path: path, Resolve: resolve})
	var many []door.Peer
	for i := range 1500 {
		many = append(many, door.Peer{ID: xen.DomID(i + 1)})
	}
	s.SetPeers(many) // before Run
	run(t, s, newHanging(), path)
	last := filepath.Join(filepath.Dir(path), "peer")
	await(t, "their directory", func() bool { return exists(last) })
	await(t, "all of them", func() bool { return len(peerFiles(t, path)) == 1024 })
}

func TestWhatAKilledDaemonLeftIsReplaced(t *testing.T) {
	dir := tempDir(t)
	path, peers := filepath.Join(dir, "s"), filepath.Join(dir, "peer")
	if err := os.Mkdir(peers, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, stale := range []string{path, filepath.Join(peers, "5.sock"), filepath.Join(peers, "9.sock"), filepath.Join(peers, "6.sock.new")} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	os.Symlink("9.sock", filepath.Join(peers, "old.sock"))
	os.WriteFile(filepath.Join(peers, "precious"), []byte("x"), 0o600)
	s := door.New(door.Config{Path: path, Resolve: resolve})
	s.SetPeers([]door.Peer{{ID: 5, Name: "db1"}})
	stop := run(t, s, newHanging(), path)
	want := []string{"5.sock", "db1.sock", "precious"}
	await(t, "the peers' sockets", func() bool { return slices.Equal(peerFiles(t, path), want) })
	connect(t, filepath.Join(peers, "db1.sock"), "LISTEN 7\n").begins("ERR EINVAL")
	connect(t, path, "LISTEN 7000\n").begins("ERR EADDRINUSE")
	if err := door.New(door.Config{Path: path, Resolve: resolve}).Run(t.Context(), newHanging()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a second door at the same path: %v", err)
	}
	stop()
	if got := peerFiles(t, path); !slices.Equal(got, []string{"precious"}) {
		t.Errorf("after the end: %v", got)
	}
}

// What others can write to is not used: a link there could lead anywhere.
func TestADirectoryThatIsNotOursAloneIsLeft(t *testing.T) {
	for name, prepare := range map[string]func(peers, other string) error{
		"one that all can write to": func(peers, _ string) error {
			return first(os.Mkdir(peers, 0o755), os.Chmod(peers, 0o777))
		},
		"a link":          func(peers, other string) error { return os.Symlink(other, peers) },
		"a file":          func(peers, _ string) error { return os.WriteFile(peers, nil, 0o600) },
		"somebody else's": func(peers, _ string) error { return first(os.Mkdir(peers, 0o755), os.Chown(peers, 65534, -1)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, other := tempDir(t), tempDir(t)
			path, peers := filepath.Join(dir, "s"), filepath.Join(dir, "peer")
			if err := prepare(peers, other); err != nil {
				t.Skip(err)
			}
			s := door.New(door.Config{Path: path, Resolve: resolve})
			s.SetPeers([]door.Peer{{ID: 5, Name: "db1"}})
			run(t, s, newHanging(), path)
			connect(t, path, "LISTEN 7000\n").begins("ERR EADDRINUSE") // it serves all the same
			s.SetPeers([]door.Peer{{ID: 5, Name: "db1"}, {ID: 6, Name: "db2"}})
			for _, d := range []string{peers, other} {
				if entries, _ := os.ReadDir(d); len(entries) > 0 {
					t.Errorf("%s has %v", d, entries)
				}
			}
		})
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestRightsOfAllSockets(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	s := door.New(door.Config{Path: path, Resolve: resolve, Mode: 0o640, Group: "mail"})
	s.SetPeers([]door.Peer{{ID: 5, Name: ""}})
	run(t, s, newHanging(), path)
	peer := filepath.Join(filepath.Dir(path), "peer", "5.sock")
	await(t, "the peer's socket", func() bool { return exists(peer) })
	for _, p := range []string{path, peer} {
		if info, err := os.Stat(p); err != nil || info.Mode() != fs.ModeSocket|0o640 {
			t.Errorf("%s: %v, %v", p, info, err)
		} else if got := fmt.Sprint(owner(info)); os.Getuid() == 0 && got != fmt.Sprint(groupID(t, "mail")) {
			t.Errorf("%s: group %s", p, got)
		}
	}
}
