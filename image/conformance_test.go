package image_test

import (
	"fmt"
	"path/filepath"
	"strings"

	"xvsock/image"
	"xvsock/image/rig"
)

// testBinary builds the tests of a package and puts them into dom0.
func (h *xenHost) testBinary(pkg, name string) (path string) {
	h.t.Helper()
	path = filepath.Join(h.t.TempDir(), name)
	if err := rig.BuildTest(h.t.Context(), pkg, path); err != nil {
		h.t.Fatal(err)
	}
	h.Put(path, "/usr/bin/"+name)
	return path
}

// runTests runs a test binary in dom0 and reports what it printed.
func (h *xenHost) runTests(command string) {
	h.t.Helper()
	ctx := h.t.Context()
	r, err := h.Run(ctx, command)
	if err != nil {
		h.t.Fatal(err)
	}
	passed := strings.Count(r.Stdout, "--- PASS")
	if r.Code != 0 || passed == 0 || strings.Contains(r.Stdout, "--- SKIP: TestXen ") {
		h.t.Errorf("%s: exit status %d\n%s%s", command, r.Code, r.Stdout, r.Stderr)
		return
	}
	h.t.Logf("%s: %d tests passed on real Xen in %v", command, passed, r.Took.Round(1e8))
	for line := range strings.Lines(r.Stdout) {
		if strings.Contains(line, "--- SKIP") {
			h.t.Log(strings.TrimSpace(line))
		}
	}
}

// conformance runs the conformance suite in dom0 alone, then in dom0 against a
// guest, and its xenstore part in both.
func (h *xenHost) conformance() {
	const name = "conformance.test"
	binary := h.testBinary("xvsock/sim/conformance", name)
	guest := h.Guest(rig.Guest{Name: "conform", Type: image.PV, Ramdisk: h.agentImage(binary)})
	h.runTests(name + " -test.v -test.run '^TestXen$'") // while the guest boots, and runs its part
	// One after the other: xenstored limits how fast a guest may write.
	h.t.Log("in the guest: " + h.Await(guest, "xenstore suite ended with"))
	if !guest.Console().Contains("xenstore suite ended with 0") {
		h.t.Errorf("xenstore suite in the guest:\n%s", guest.Console().Tail(60))
	}
	h.runTests(name + " -test.v -test.run '^TestXenstore$'")
	h.runTests(fmt.Sprintf("XVSOCK_CONFORM_PEER=%v %s -test.v -test.run '^TestXen$'", guest.ID, name))
	h.Sh("xl destroy conform")
}

// nettest runs the sockets' own test in dom0: a domain can be its own frontend and
// backend. No daemon runs there yet.
func (h *xenHost) nettest() {
	const name = "vsock.test"
	h.testBinary("xvsock/vsock", name)
	h.runTests(name + " -test.v -test.run '^TestXenConn'")
}

// agentImage makes an initramfs that runs the xenstore suite, and then serves as
// the far end.
func (h *xenHost) agentImage(binary string) (output string) {
	h.t.Helper()
	output = filepath.Join(h.t.TempDir(), "agent.cpio")
	err := rig.WriteShellImage(h.Parts, rig.ShellImage{
		Output: output, Files: map[string]string{"/bin/conformance.test": binary},
		Before: "conformance.test -test.v -test.run '^TestXenstore$'\necho xenstore suite ended with $?\n" +
			"export XVSOCK_CONFORM_ROLE=agent\nexec conformance.test",
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return output
}
