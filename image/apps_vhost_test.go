package image_test

import "strings"

// vhost runs those tests of package bridge/vhost that have a kernel's AF_VSOCK sockets
// at the other side: dom0's kernel is another than the domUs'.
func (a *apps) vhost() {
	const complaints = "dmesg | grep -E 'WARNING:|BUG:|Oops'"
	for _, p := range []place{a.dom0(), a.at("a")} {
		a.run(p, "dmesg -c >/dev/null")
		out := a.run(p, "vhost.test -test.v -test.short -test.run ^TestKernel -test.timeout 3m")
		if bad, _ := a.try(p, complaints); bad != "" || !strings.Contains(out, "--- PASS") || strings.Contains(out, "there is no /dev/vhost-vsock") {
			a.t.Errorf("%s: %s\n%s", p.name, bad, out)
		}
		a.t.Logf("%s:\n%s", p.name, out)
	}
}
