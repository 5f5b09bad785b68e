package image_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"xvsock/image/rig"
)

// held is what a domain holds for its programs' connections.
type held struct {
	Goroutines  int // of the daemon, but for a few that come and go
	Files       int // of the daemon
	Connections int // on all its links, by its own word
	Pages       int // that it has granted
	Sockets     int // of AF_VSOCK, in its kernel
	Threads     int // of vhost, in its kernel
	ports       int // event channels of the domain
	slabKiB     int // of its kernel, that cannot be reclaimed
}

// holds counts what a domU, or dom0, holds. The programs that count have ended before
// the last is counted. It is one command: each takes its time to be sent to a domain.
func (a *apps) holds(p place) (h held) {
	a.t.Helper()
	pid, id := "$(cat /tmp/daemon.pid)", "0"
	if p.domain == nil {
		pid = strconv.Itoa(a.backend.PID())
	} else {
		id = p.domain.ID.String()
	}
	var status struct{ Goroutines int }
	var links []struct{ Connections, Pages int }
	counts := []struct {
		command string
		to      any
	}{
		{"xvsock status -o json", &status},
		{"xvsock peers -o json", &links},
		{"ls /proc/" + pid + "/fd | wc -l", &h.Files},
		{"sockets.py diag", &h.Sockets},
		{"cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^vhost-' || true", &h.Threads},
		{"sed -n 's/^SUnreclaim: *\\([0-9]*\\).*/\\1/p' /proc/meminfo", &h.slabKiB},
	}
	command := "set -e"
	for _, c := range counts {
		command += "; " + c.command + "; echo " + countEnd
	}
	rest := a.run(p, command)
	for _, c := range counts {
		out, after, ok := strings.Cut(rest, countEnd)
		if err := json.Unmarshal([]byte(out), c.to); err != nil || !ok {
			a.t.Fatalf("%s in %s: %v: %q", c.command, p.name, err, out)
		}
		rest = after
	}
	h.Goroutines = status.Goroutines
	for _, l := range links {
		h.Connections += l.Connections
		h.Pages += l.Pages
	}
	h.ports = strings.Count(a.Sh("lsevtchn "+id), "\n")
	return h
}

// countEnd is said after each count.
const countEnd = "@counted"

// slabSlack is how much the kernel's own memory may grow by what has nothing to do with
// connections: 10000 sockets of a KiB or more would be beyond it.
const slabSlack = 2 << 10

// within reports whether h is no more than before.
func (h held) within(before held) bool {
	return h.Goroutines <= before.Goroutines && h.Files <= before.Files && h.Connections <= before.Connections &&
		h.Pages <= before.Pages && h.Sockets <= before.Sockets && h.Threads <= before.Threads && h.ports <= before.ports &&
		h.slabKiB <= before.slabKiB+slabSlack
}

// rests counts what a domain holds when nothing of an earlier step lingers any more: as
// soon as two counts are the same.
func (a *apps) rests(p place) held {
	a.t.Helper()
	last := a.holds(p)
	for range 10 {
		time.Sleep(time.Second)
		now := a.holds(p)
		if now.slabKiB = last.slabKiB; now == last {
			break
		}
		last = now
	}
	return last
}

// leavesNothing checks that a domain holds no more than before, as soon as what lingers
// has gone.
func (a *apps) leavesNothing(p place, before held) {
	a.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		after := a.holds(p)
		if after.within(before) {
			a.t.Logf("%s holds %+v, before %+v", p.name, after, before)
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s holds %+v, before %+v", p.name, after, before)
		}
	}
}

// load holds many connections at once, and opens and closes more of them.
func (a *apps) load() {
	inA, inB, dom0 := a.at("a"), a.at("b"), a.dom0()
	total := 10000
	if soak() {
		total = 100000
	}
	// All that stays after its first use is there before anything is counted.
	for _, cid := range []string{inB.cid(), cidBackend, cidSelf} {
		a.run(inA, "sockets.py churn "+cid+" "+portEcho+" 200 8")
	}
	a.run(inA, "sockets.py many "+inB.cid()+" "+portEcho+" 100")
	places := []place{inA, inB, dom0}
	before := make([]held, len(places))
	for i, p := range places {
		before[i] = a.rests(p)
	}
	a.says(inA, "sockets.py many "+inB.cid()+" "+portEcho+" 500")
	// At once: to the other domain, which counts twice, and to dom0.
	to := total * 7 / 10
	a.start(inA, "churn", fmt.Sprintf("sockets.py churn %s %s %d 8; echo status $?", cidBackend, portEcho, total-to), "")
	start := time.Now()
	a.t.Logf("a to b: %s", a.churn(inA, fmt.Sprintf("sockets.py churn %s %s %d 8", inB.cid(), portEcho, to)))
	a.churned(inA, "churn")
	a.t.Logf("%d connections opened and closed in %.1f s: %.0f a second", total, time.Since(start).Seconds(), float64(total)/time.Since(start).Seconds())
	// Port 7 takes 8 connections of a domain, and one that was closed counts until its
	// handler has seen that.
	a.says(inA, "sockets.py churn "+inB.cid()+" 7 500 2")
	for i, p := range places {
		a.leavesNothing(p, before[i])
	}
}

// churn runs a command that may take long.
func (a *apps) churn(p place, command string) string {
	a.t.Helper()
	a.start(p, "long", command+"; echo status $?", "")
	return a.churned(p, "long")
}

// churned waits for the end of a command that says its status at last.
func (a *apps) churned(p place, name string) string {
	a.t.Helper()
	within := 4 * time.Minute
	if soak() {
		within = 40 * time.Minute
	}
	a.comes(p, within, "sleep 0.5; grep -q '^status' /tmp/"+p.name+"."+name)
	out := a.output(p, name)
	if !strings.HasSuffix(out, "status 0") {
		a.t.Fatalf("%s in %s: %s", name, p.name, out)
	}
	return strings.TrimSuffix(out, "\nstatus 0")
}

// peerEnds destroys b while programs of a talk to it, and creates another b, whose id
// is one that is its CID too.
func (a *apps) peerEnds() {
	inA, inB := a.at("a"), a.at("b")
	cid := inB.cid()
	a.start(inA, "blocked", "sockets.py blocked "+cid+" "+portEcho+" ECONNRESET destroyed", "blocked")
	// A domain that does not run answers nothing: the time that is given to a connect
	// is its program's own.
	a.Sh("xl pause b")
	a.says(inA, "sockets.py try-for 1 "+cid+" "+portEcho+" ETIMEDOUT 1800 , try "+cid+" "+portEcho+" ETIMEDOUT 2800")
	a.start(inA, "inflight", "sockets.py try-for 2 "+cid+" "+portEcho+" ETIMEDOUT 2800", "")
	a.run(inA, "sleep 1")
	start := time.Now()
	a.Sh("xl destroy b")
	line := a.Await(inA.domain, "destroyed: the read ended with ECONNRESET")
	took := time.Since(start)
	a.t.Logf("%v after xl destroy: %s", took.Round(time.Millisecond), line)
	if took > 2*time.Second {
		a.t.Errorf("a read learnt of its peer's end after %v, want 2 s at most", took)
	}
	a.comes(inA, 5*time.Second, "grep -q ' in ' /tmp/a.inflight")
	if out := a.output(inA, "inflight"); !strings.Contains(out, ": ETIMEDOUT in ") {
		a.t.Errorf("a connect in flight: %s", out)
	} else {
		a.t.Logf("a connect in flight: %s", out)
	}
	a.says(inA, "sockets.py try "+cid+" "+portEcho+" ENODEV")

	again := a.domU("b", "")
	a.linksUp(2, bootTime)
	if again.cid() != again.domain.ID.String() {
		a.t.Errorf("the new b is domain %v at CID %s: its CID is to be its id", again.domain.ID, again.cid())
	}
	a.start(again, "echo", "sockets.py serve "+portEcho, "listening")
	a.comes(inA, 20*time.Second, "sockets.py try "+again.cid()+" "+portEcho+" ok 5000")
	a.says(inA, "sockets.py echo "+again.cid()+" "+portEcho+" 300000")
	a.says(again, "sockets.py echo "+inA.cid()+" "+portEcho+" 300000")
}

// withoutVhost is a domU whose kernel has no vhost_vsock.
func (a *apps) withoutVhost() {
	c, inB := a.domU("c", "module_blacklist=vhost_vsock"), a.at("b")
	a.linksUp(3, bootTime)
	a.comes(c, 20*time.Second, "xvsock ping b")
	a.run(c, "! test -e /dev/vhost-vsock")
	status := a.run(c, "xvsock status")
	a.t.Logf("c:\n%s", status)
	for _, want := range []string{"AF_VSOCK", "vhost"} {
		if !strings.Contains(status, want) {
			a.t.Errorf("status does not say %q", want)
		}
	}
	a.says(c, "sockets.py try "+inB.cid()+" "+portEcho+" ENODEV")
	for _, command := range []string{"xvsock connect b:7", "hybrid.py /run/xvsock/peer/b.sock 'CONNECT 7'", "xvsock connect b:" + portEcho} {
		if out := a.run(c, "echo hello | "+command); out != "hello" {
			a.t.Errorf("%s: %q", command, out)
		}
	}
	// It takes connections too, at the unix socket's side.
	a.start(c, "listen", "xvsock listen 5500 --fork -- cat", "")
	a.allow(appsRules + "* b c allow\n")
	p := place{"c", c.domain}
	a.comes(inB, 10*time.Second, "sockets.py try "+p.cid()+" 5500 ok 5000")
	a.says(inB, "sockets.py echo "+p.cid()+" 5500 100000")
	a.gracefully(c.domain)
}

// gracefully shuts a domU down as xl does, and waits for its end.
func (a *apps) gracefully(d *rig.Domain) {
	a.t.Helper()
	a.Sh("xvsock detach " + d.Name + " && xl destroy " + d.Name)
	delete(a.domains, d.Name)
}
