package door_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/bridge/door"
	"xvsock/vsock"
)

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Gid }

func groupID(t *testing.T, name string) uint32 {
	t.Helper()
	g, err := user.LookupGroup(name)
	if err != nil {
		t.Skipf("no group to give a socket to, install base-passwd: %v", err)
	}
	n, _ := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n)
}

func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t, door.Config{Total: 5, PerUser: 3})
	w.echo(7)
	await(t, "an empty door", func() bool { return len(w.door.Status().Clients) == 0 })
	var mine []*raw
	for range 3 {
		c := w.connect("CONNECT @backend 7\n")
		c.begins("OK")
		mine = append(mine, c)
	}
	over := w.connect("CONNECT @backend 7\n")
	over.begins("ERR ENOBUFS too many")
	over.ended()
	if _, err := w.DialContext(t.Context(), "@backend:7"); !isErrno(err, syscall.ENOBUFS) {
		t.Errorf("the client's error is %v", err)
	}
	for range 2 {
		asNobody(w, "CONNECT @backend 7\n").begins("OK")
	}
	asNobody(w, "CONNECT @backend 7\n").begins("ERR ENOBUFS") // its third, but the sixth of all
	mine[0].Close()
	await(t, "a place", func() bool {
		c := w.connect("CONNECT @backend 7\n")
		defer c.Close()
		return strings.HasPrefix(c.line(), "OK")
	})
}

// The streams of a listener are connections too; one too many is reset, and the listener
// goes on.
func TestAcceptedConnectionsAreBounded(t *testing.T) {
	w := newWorld(t, door.Config{PerUser: 1}) // listener, and stream
	l := w.program(5000)
	go w.dial(5000)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan net.Conn, 1)
	go func() { c, _ := l.Accept(); next <- c }()
	over, err := w.dial(5000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := over.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("one too many reads %v", err)
	}
	c.Close()
	await(t, "a place", func() bool { return len(w.door.Status().Clients) == 1 })
	if _, err := w.dial(5000); err != nil {
		t.Fatal(err)
	}
	if c := <-next; c != nil {
		c.Close()
	} else {
		t.Error("the listener has ended")
	}
}

func TestDeliveredConnectionsAreBounded(t *testing.T) {
	w := newWorld(t, door.Config{PerUser: 2})
	w.own(5000)
	for range 2 {
		if _, err := w.dial(5000); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.dial(5000); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("one too many: %v", err)
	}
}

// record is a log that can be read meanwhile.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func TestWhoIsRefusedIsLoggedAndNotTooOften(t *testing.T) {
	log := &record{}
	w := newWorld(t, door.Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	w.connect("CONNECT @backend 9\n").begins("ERR ECONNREFUSED") // is no news
	for range 100 {
		w.connect("CONNECT @backend 1\n").begins("ERR EACCES")
	}
	said := log.String()
	want := fmt.Sprintf(`pid=%d uid=%d gid=%d asks="CONNECT @backend 1"`, os.Getpid(), os.Getuid(), os.Getgid())
	if !strings.Contains(said, want) || strings.Contains(said, "ECONNREFUSED") || strings.Contains(said, "backend 9") {
		t.Errorf("the log says %s", said)
	}
	if n := strings.Count(said, "program refused"); n < 10 || n > 20 {
		t.Errorf("%d of 100 refusals are in the log", n)
	}
}

// One who is refused all the time does not silence the log about others.
func TestNobodySilencesTheLogAboutAnother(t *testing.T) {
	log := &record{}
	w := newWorld(t, door.Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	for range 50 {
		w.connect("CONNECT @backend 1\n").begins("ERR EACCES")
	}
	if strings.Contains(log.String(), "uid=65534") {
		t.Fatal("nobody is in the log already")
	}
	asNobody(w, "CONNECT @backend 1\n").begins("ERR EACCES")
	if !strings.Contains(log.String(), "uid=65534") {
		t.Errorf("the log does not say that nobody was refused: %s", log)
	}
}

func TestStatusSaysWhoDoesWhat(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.connect("LISTEN 5000\n").begins("OK")
	w.own(5001)
	if _, err := w.dial(5001); err != nil {
		t.Fatal(err)
	}
	all := w.door.Status().Clients
	if len(all) != 2 {
		t.Fatalf("%d clients", len(all))
	}
	if c := all[0]; c.PID != int32(os.Getpid()) || c.UID != uint32(os.Getuid()) || c.Does != "LISTEN 5000" || time.Since(c.Since) > time.Minute {
		t.Errorf("%+v", c)
	}
	if c := all[1]; c.PID != 0 || c.UID != uint32(os.Getuid()) || c.Does != w.path+"_5001" {
		t.Errorf("%+v", c)
	}
}

// The seven calls of the prototype, by 64 programs at once: connect, disconnect, listen,
// unlisten, accept, send, recv. As many hang in accept and in recv for all that time.
func TestNoCallHoldsUpAnother(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	deaf := w.listen(8)
	const programs = 64
	var blocked, working sync.WaitGroup
	for i := range programs {
		l := w.program(uint32(20000 + i))
		blocked.Go(func() { l.Accept() })
		c, err := w.DialContext(t.Context(), "@backend:8")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		blocked.Go(func() { c.Read(make([]byte, 1)) })
		t.Cleanup(func() { l.Close() })
	}
	for i := range programs {
		working.Go(func() {
			for range 4 {
				if err := w.allCalls(uint32(10000 + i)); err != nil {
					t.Errorf("program %d: %v", i, err)
				}
			}
		})
	}
	working.Wait()
	deaf.Close()
	w.stop()
	blocked.Wait()
}

// allCalls makes each of the seven calls.
func (w *world) allCalls(port uint32) error {
	message := make([]byte, 1+rand.IntN(100000))
	l, err := w.Listen(w.t.Context(), port)
	if err != nil {
		return err
	}
	defer l.Close() // unlisten
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		_, err = io.Copy(c, c)
		served <- err
	}()
	for _, to := range []string{fmt.Sprintf("self:%d", port), "@backend:7"} {
		c, err := w.DialContext(w.t.Context(), to)
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		sent := make(chan error, 1)
		go func() { _, err := c.Write(message); sent <- err }()
		_, err = io.ReadFull(c, make([]byte, len(message)))
		err = errors.Join(err, <-sent, c.Close()) // disconnect
		if err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	return <-served
}

// Programs that talk nonsense, say nothing or leave take nothing from one that behaves.
func TestHostileProgramsHoldUpNobody(t *testing.T) {
	w := newWorld(t, door.Config{PerUser: 32})
	w.echo(7)
	if err := os.Chmod(w.path, 0o666); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var hostile sync.WaitGroup
	for i, say := range []string{"", "CONN", strings.Repeat("\x00", 1<<16), "ACCEPT\n", "LISTEN 1\n", "CONNECT @backend 9\n", "CONNECT @backend 7\n", "LISTEN 0\n" + strings.Repeat("ACCEPT\n", 1000)} {
		hostile.Go(func() {
			asUser(t, 65534, func() {
				for {
					select {
					case <-stop:
						return
					default:
						annoy(w.path, say, i%2 == 0)
					}
				}
			})
		})
	}
	for range 20 {
		c, err := w.DialContext(t.Context(), "@backend:7")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "x")
		if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		c.Close()
	}
	close(stop)
	hostile.Wait()
	await(t, "the end of all", func() bool { return len(w.door.Status().Clients) == 0 })
}

// annoy says something to the door and leaves soon, with or without hearing the answer.
func annoy(path, say string, hear bool) {
	time.Sleep(time.Millisecond) // or the test would be about who gets the processor
	c, err := net.Dial("unix", path)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Millisecond))
	io.WriteString(c, say)
	if hear {
		c.Read(make([]byte, 100))
	}
}

func TestTheEndWaitsForNobody(t *testing.T) {
	w := newWorld(t, door.Config{})
	w.echo(7)
	w.door.SetPeers([]door.Peer{{ID: 0}})
	deaf := w.listen(8)
	defer deaf.Close()
	w.connect("")
	w.connect("CONN")
	w.connect("LISTEN 5000\nACCEPT\n").begins("OK")
	w.connect("LISTEN 5001\n").begins("OK")
	c, err := w.DialContext(t.Context(), "@backend:8")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	c.Write(make([]byte, 8<<20)) // as much as there is room for
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := w.DialContext(t.Context(), "@backend:7"); !errors.Is(err, vsock.ErrNoDaemon) {
		t.Errorf("afterwards: %v", err)
	}
}
