package image_test

import (
	"strings"
	"time"
)

// vhost runs those tests of package bridge/vhost that have a kernel's AF_VSOCK sockets
// at the other side: dom0's kernel is another than the domUs'. Both run at once.
func (a *apps) vhost() {
	const (
		tests      = "vhost.test -test.v -test.short -test.run ^TestKernel -test.timeout 3m; echo status $?"
		complaints = "dmesg | grep -E 'WARNING:|BUG:|Oops'"
	)
	both := []place{a.dom0(), a.at("a")}
	for _, p := range both {
		a.run(p, "dmesg -c >/dev/null")
		a.start(p, "vhost", tests, "")
	}
	for _, p := range both {
		out := a.comes(p, 4*time.Minute, "grep -q ^status /tmp/"+p.name+".vhost && cat /tmp/"+p.name+".vhost")
		passed := strings.Contains(out, "--- PASS") && strings.HasSuffix(out, "\nstatus 0")
		if bad, _ := a.try(p, complaints); bad != "" || !passed || strings.Contains(out, "there is no /dev/vhost-vsock") {
			a.t.Errorf("%s: %s\n%s", p.name, bad, out)
		}
		a.t.Logf("%s:\n%s", p.name, out)
	}
}
