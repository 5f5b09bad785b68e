package image_test

import (
	"fmt"
	"strings"
	"time"
)

// echoServers starts the programs that take connections everywhere.
func (a *apps) echoServers() {
	a.t.Helper()
	for _, p := range []place{a.at("a"), a.at("b"), a.dom0()} {
		a.start(p, "echo", "sockets.py serve "+portEcho, "listening")
	}
}

// reach waits until the kernel's sockets find each domain that policy allows.
func (a *apps) reach() {
	a.echoServers()
	inA, inB, dom0 := a.at("a"), a.at("b"), a.dom0()
	for _, way := range []struct {
		from place
		cids []string
	}{
		{inA, []string{inB.cid(), dom0.cid(), cidBackend, cidSelf}},
		{inB, []string{inA.cid(), cidBackend}},
		{dom0, []string{inA.cid(), inB.cid(), cidSelf}},
	} {
		command := "true"
		for _, cid := range way.cids {
			// An instance is there as soon as the daemon knows of the peer.
			a.comes(way.from, 20*time.Second, "sockets.py try "+cid+" "+portEcho+" ok 5000")
			command += "; echo CID " + cid + "; sockets.py echo " + cid + " " + portEcho + " 300000"
		}
		a.says(way.from, strings.ReplaceAll(command, "true; ", "set -e; "))
	}
}

// sockets looks at who is who at both ends.
func (a *apps) sockets() {
	const port = "5100"
	inA, inB, dom0 := a.at("a"), a.at("b"), a.dom0()
	for _, way := range []struct {
		from, to place
		cid      string // of to, as from says it
	}{
		{inA, inB, inB.cid()}, {inA, dom0, dom0.cid()}, {inA, dom0, cidBackend}, {dom0, inB, inB.cid()},
	} {
		a.start(way.to, "accept", "sockets.py accept "+port+" "+way.from.cid(), "listening")
		if out := a.run(way.from, "sockets.py whoami "+way.cid+" "+port); out != "you are "+way.from.cid() {
			a.t.Errorf("from %s to %s: %q, want CID %s", way.from.name, way.to.name, out, way.from.cid())
		}
		a.comes(way.to, 5*time.Second, "grep -q 'accepted\\|failed' /tmp/"+way.to.name+".accept")
		out := a.output(way.to, "accept")
		a.t.Logf("%s to %s at CID %s: %s", way.from.name, way.to.name, way.cid, strings.ReplaceAll(out, "\n", "; "))
		if !strings.Contains(out, "\naccepted ") {
			a.t.Errorf("the program that accepts has failed")
		}
	}
	a.says(inA, "sockets.py try-for 5 "+inB.cid()+" "+portEcho+" ok 5000")
}

// refused connects to what refuses, or may not be connected to: both are resets, and
// at once.
func (a *apps) refused() {
	inA, inB, dom0 := a.at("a"), a.at("b"), a.dom0()
	for _, c := range []struct {
		from  place
		tries []string
	}{
		{inA, []string{
			"try " + inB.cid() + " " + portNobody,  // nobody listens
			"try " + cidBackend + " " + portNobody, // nor in dom0
			"try " + cidSelf + " " + portNobody,    // nor here
			"try " + inB.cid() + " " + portDenied,
			"try " + inB.cid() + " " + portBridged,
			"try " + inB.cid() + " 0",
			"try " + inB.cid() + " 1", // of a domain that has no manager
			"try " + cidBackend + " 1",
			"try " + cidSelf + " 1",
		}},
		{dom0, []string{"try " + inB.cid() + " " + portNobody, "try " + inB.cid() + " 1"}},
	} {
		a.says(c.from, "sockets.py "+strings.Join(c.tries, " ECONNRESET , ")+" ECONNRESET")
	}
	// What is allowed again is so at once, and reset when it is taken away.
	a.start(inB, "late", "socat -u VSOCK-LISTEN:"+portDenied+",fork -", "")
	a.allow(strings.ReplaceAll(appsRules, portDenied, "6667"))
	a.comes(inA, 5*time.Second, "sockets.py try "+inB.cid()+" "+portDenied+" ok")
	a.start(inA, "held", "sockets.py blocked "+inB.cid()+" "+portEcho+" EOF revoked", "blocked")
	start := time.Now()
	a.allow(portEcho + " a b deny\n" + appsRules)
	a.t.Logf("%v after it was denied: %s", time.Since(start).Round(time.Millisecond), a.Await(inA.domain, "revoked: the read ended with EOF"))
	a.allow(appsRules)
	a.comes(inA, 10*time.Second, "sockets.py try "+inB.cid()+" "+portEcho+" ok 5000")
	a.stop(inB, "late")
	a.says(inA, "sockets.py try "+inB.cid()+" "+portDenied+" ECONNRESET")
}

// unprivileged does as nobody what only the daemon, and the toolstack, may.
func (a *apps) unprivileged() {
	inA, inB := a.at("a"), a.at("b")
	a.says(inA, "sockets.py nobody echo "+inB.cid()+" "+portEcho+" 1000 , try "+cidBackend+" 1 ECONNRESET , try "+cidSelf+
		" 1 ECONNRESET , register "+cidBackend+" , try "+inB.cid()+" 4 ECONNRESET , try "+cidBackend+" 4 ECONNRESET , try "+cidSelf+
		" 4 ECONNRESET")
	// And from dom0, whose root may.
	a.says(a.dom0(), "sockets.py nobody try "+inA.cid()+" 4 ECONNRESET")
	if out := a.Sh("xvsock services -o json"); strings.Contains(out, "rogue") {
		a.t.Errorf("an unprivileged program has registered a service:\n%s", out)
	}
	a.run(inA, "test $(stat -c %U /dev/vhost-vsock) = root && ! test -w /dev/vhost-vsock -a $(id -u) != 0")
}

// messages is SEQPACKET between two kernels, and to a Go end, which has streams alone.
func (a *apps) messages() {
	inA, inB := a.at("a"), a.at("b")
	a.says(inA, "sockets.py bounds "+inB.cid()+" "+portMessage+" , bounds "+cidSelf+" "+portMessage+" , try-seq "+inB.cid()+" "+
		portNobody+" ECONNRESET , try-seq "+inB.cid()+" 7 ECONNRESET , try "+inB.cid()+" 7 ok")
	a.says(inB, "sockets.py bounds "+cidBackend+" "+portMessage)
}

// goEnds has a Go end at one side and the kernel's at the other, both ways.
func (a *apps) goEnds() {
	inA, inB := a.at("a"), a.at("b")
	svc := a.service("svc")
	a.Await(svc, "xvsock: ready in")
	p := place{"svc", svc}
	a.comes(inA, 20*time.Second, "sockets.py try "+p.cid()+" 7 ok 5000")
	const size = " 7 1000000"
	a.says(inA, "sockets.py echo "+p.cid()+size+" , echo "+inB.cid()+size+" , echo "+cidBackend+size+" , echo "+cidSelf+size)
	a.Sh("xvsock detach svc && xl destroy svc")
	delete(a.domains, "svc")

	// `xvsock connect` is a Go end; socat's is the kernel's, and the other way round.
	a.start(inB, "cat", "socat -t 10 VSOCK-LISTEN:5200,fork EXEC:cat", "")
	a.start(inB, "golisten", "xvsock listen 5300 --fork -- cat", "")
	const sum = "| md5sum"
	want := a.run(inA, "seq 100000 "+sum)
	for _, command := range []string{
		"xvsock connect b:5200",
		"xvsock connect " + inB.cid() + ":5200",
		"hybrid.py /run/xvsock/peer/b.sock 'CONNECT 5200'",
		"hybrid.py /run/xvsock/vsock.sock 'CONNECT b 5200'",
		"socat -t 10 - VSOCK-CONNECT:" + inB.cid() + ":5300",
		"xvsock connect b:5300",
	} {
		start := time.Now()
		if out := a.comes(inA, 10*time.Second, fmt.Sprintf("test \"$(seq 100000 | %s %s)\" = \"%s\"", command, sum, want)); out != "" {
			a.t.Log(out)
		}
		a.t.Logf("a: %s: all came back in %v", command, time.Since(start).Round(time.Millisecond))
	}
	a.stop(inB, "cat")
	a.stop(inB, "golisten")
}

// streams moves 64 MiB each way at once through two socats in two domUs, and less where
// it is the same daemons' work again, but for the long tests.
func (a *apps) streams() {
	const size, port = 64 << 20, "5400"
	less := size / 16
	if soak() {
		less = size
	}
	inA, inB, dom0 := a.at("a"), a.at("b"), a.dom0()
	for _, way := range []struct {
		from, to place
		cid      string
		size     int
	}{{inA, inB, inB.cid(), size}, {inA, dom0, dom0.cid(), less}, {dom0, inB, inB.cid(), less}} {
		a.start(way.to, "socat", fmt.Sprintf("socat -t 200 VSOCK-LISTEN:%s EXEC:'stream.py server %d'", port, way.size), "")
		a.run(way.from, "sleep 0.3")
		a.start(way.from, "client", fmt.Sprintf("socat -t 200 EXEC:'stream.py client %d' VSOCK-CONNECT:%s:%s", way.size, way.cid, port), "")
		a.comes(way.from, stepTimeout, "sleep 0.5; grep -Eq 'ok|failed|Error|refused|reset' /tmp/"+way.from.name+".client")
		out := a.output(way.from, "client")
		a.t.Logf("%s to %s: %s", way.from.name, way.to.name, out)
		if !strings.Contains(out, "ok: ") {
			a.t.Errorf("what came is not what was sent")
		}
	}
}

// openSSH logs in to b from a through whatever leads there.
func (a *apps) openSSH() {
	inA, inB := a.at("a"), a.at("b")
	for _, p := range []place{inA, inB} {
		a.run(p, "mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
	}
	a.run(inB, "echo '"+a.run(inA, "cat /root/.ssh/id_ed25519.pub")+"' >/root/.ssh/authorized_keys")
	a.run(inA, "echo 'b "+a.run(inB, "cat /root/.ssh/id_ed25519.pub")+"' >/root/.ssh/known_hosts")
	a.start(inB, "sshd", "/usr/sbin/sshd -D -f /dev/null -h /root/.ssh/id_ed25519 -o ListenAddress=127.0.0.1 -o StrictModes=no "+
		"-o Subsystem='sftp /usr/lib/openssh/sftp-server'", "")
	a.comes(inA, 20*time.Second, "xvsock connect -z b:22")
	a.run(inA, "head -c 1048576 /dev/urandom >/tmp/sent")
	for _, proxy := range []string{
		"hybrid.py /run/xvsock/peer/b.sock CONNECT\\ 22",
		"xvsock connect b:22",
	} {
		start := time.Now()
		option := "-o BatchMode=yes -o ProxyCommand='" + proxy + "'"
		if out := a.run(inA, "ssh "+option+" b 'hostname; exit 3' || echo status $?"); out != "b\nstatus 3" {
			a.t.Errorf("ssh by %q: %q", proxy, out)
		}
		a.run(inA, "scp -q "+option+" /tmp/sent b:/tmp/got && scp -q "+option+" b:/tmp/got /tmp/back && cmp /tmp/sent /tmp/back")
		a.t.Logf("a login and 1 MiB there and back by %q: %v", proxy, time.Since(start).Round(100*time.Millisecond))
	}
	a.stop(inB, "sshd")
}
