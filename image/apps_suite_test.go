package image_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// suiteCase is a case of Linux's own tests of AF_VSOCK.
type suiteCase struct {
	id   int
	name string
}

// notOf61 says why a case cannot pass on the kernel of the rig's domains, 6.1, whatever
// carries the packets: over vsock_loopback of that kernel each of them fails too, or is
// skipped by the suite itself.
func notOf61(name string) string {
	const efault = "6.1 says ENOMEM, later kernels EFAULT"
	return map[string]string{
		"SOCK_SEQPACKET invalid receive buffer":          efault,
		"SOCK_STREAM test invalid buffer":                efault,
		"SOCK_SEQPACKET test invalid buffer":             efault,
		"SOCK_SEQPACKET big message":                     "6.1 says ENOMEM, later kernels EMSGSIZE",
		"SOCK_SEQPACKET MSG_PEEK":                        "6.1 cannot peek at messages",
		"SOCK_STREAM SHUT_WR":                            "6.1 raises no SIGPIPE",
		"SOCK_STREAM SHUT_RD":                            "6.1 raises no SIGPIPE",
		"SOCK_STREAM MSG_ZEROCOPY":                       "6.1 has no SO_ZEROCOPY here",
		"SOCK_SEQPACKET MSG_ZEROCOPY":                    "6.1 has no SO_ZEROCOPY here",
		"SOCK_STREAM virtio credit update + SO_RCVLOWAT": "6.1 tells no credit to wake a reader's low-water mark",
		"SOCK_STREAM ioctl(SIOCOUTQ) 0 unsent bytes":     "6.1 has no SIOCOUTQ here: the suite skips it by itself",
		"SOCK_SEQPACKET ioctl(SIOCOUTQ) 0 unsent bytes":  "6.1 has no SIOCOUTQ here: the suite skips it by itself",
	}[name]
}

// The ports of the suite: of its control channel, which is TCP, and where that is
// carried.
const (
	suiteTCP     = "2000"
	suiteCarried = "4000"
)

// linuxSuite runs the cases of the suite with its client in a and its server in b, and
// prints a table. Its control channel is carried by `xvsock proxy` and `xvsock listen`,
// so that no socket of AF_VSOCK is there but the suite's.
func (a *apps) linuxSuite() {
	inA, inB := a.at("a"), a.at("b")
	a.start(inA, "proxy", "xvsock proxy tcp:127.0.0.1:"+suiteTCP+" xvsock:b:"+suiteCarried, "")
	a.start(inB, "carry", "xvsock listen "+suiteCarried+" --fork -- socat -t 60 - TCP:127.0.0.1:"+suiteTCP, "")
	for _, program := range []string{"vsock_test", "vsock_diag_test"} {
		if program == "vsock_diag_test" { // it counts all sockets there are
			a.stop(inA, "echo")
			a.stop(inB, "echo")
		}
		a.suiteProgram(program)
	}
	a.stop(inA, "proxy")
	a.stop(inB, "carry")
	for _, p := range []place{inA, inB} {
		a.start(p, "echo", "sockets.py serve "+portEcho, "listening")
	}
}

// suiteProgram runs one program of the suite: all cases that can pass, one after the
// other. If one fails the program ends there, and each is run by itself to see which do.
func (a *apps) suiteProgram(program string) {
	a.t.Helper()
	start := time.Now()
	all, some := a.suiteCases(program)
	out, ok := a.suiteRun(program, all, some)
	if !ok {
		a.t.Errorf("%s: not all cases pass in one run\n%s", program, out)
	}
	table := ""
	for _, c := range all {
		result := "ok"
		if why := notOf61(c.name); why != "" {
			result = "not applicable: " + why
		} else if !ok {
			if out, alone := a.suiteRun(program, all, []suiteCase{c}); !alone {
				result = "FAILED"
				a.t.Errorf("%s: %s\n%s", program, c.name, out)
			}
		}
		table += fmt.Sprintf("\n%2d  %-48s %s", c.id, c.name, result)
	}
	a.t.Logf("%s in %v:%s", program, time.Since(start).Round(time.Second), table)
}

// suiteCases are all cases of a program of the suite, and some of them: those that can
// pass.
func (a *apps) suiteCases(program string) (all, some []suiteCase) {
	a.t.Helper()
	list, _ := a.try(a.at("a"), program+" --list") // it exits with 1
	for line := range strings.Lines(list) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		n, err := strconv.Atoi(id)
		if err != nil {
			continue
		}
		all = append(all, suiteCase{n, name})
		if notOf61(name) == "" {
			some = append(some, suiteCase{n, name})
		}
	}
	if len(some) == 0 {
		a.t.Fatalf("%s --list: %q", program, list)
	}
	return all, some
}

// suiteRun runs some of all cases, the server in b and the client in a.
func (a *apps) suiteRun(program string, all, some []suiteCase) (out string, ok bool) {
	a.t.Helper()
	inA, inB := a.at("a"), a.at("b")
	skip := ""
	for _, c := range all {
		if !slices.Contains(some, c) {
			skip += " --skip " + strconv.Itoa(c.id)
		}
	}
	a.start(inB, "suite", "timeout 90 "+program+" --mode=server --control-port="+suiteTCP+" --peer-cid="+inA.cid()+skip+
		"; echo status $?", "listening")
	client, code := a.try(inA, "timeout 90 "+program+" --mode=client --control-host=127.0.0.1 --control-port="+suiteTCP+
		" --peer-cid="+inB.cid()+skip+" >/tmp/client 2>&1; code=$?; grep -v skipped /tmp/client; exit $code")
	server := a.comes(inB, 2*time.Minute, "grep -v skipped /tmp/b.suite; grep -q '^status' /tmp/b.suite")
	ok = code == 0 && strings.Contains(server, "status 0") && strings.Contains(client, "peer...ok")
	for _, c := range some {
		done := fmt.Sprintf("%d - %s...ok", c.id, c.name)
		ok = ok && strings.Contains(client, done) && strings.Contains(server, done)
	}
	return "client:\n" + client + "\nserver:\n" + server, ok
}
