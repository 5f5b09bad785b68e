package rig

import (
	"os"
	"os/exec"
)

// need is something that has to be on the machine itself.
type need struct {
	debianPackage string
	present       func() bool
}

func onPath(program string) func() bool {
	return func() bool {
		_, err := exec.LookPath(program)
		return err == nil
	}
}

func anyFile(files ...string) func() bool {
	return func() bool {
		for _, file := range files {
			if _, err := os.Stat(file); err == nil {
				return true
			}
		}
		return false
	}
}

// needs lists what the rig runs on the machine. All else is unpacked.
func needs() []need {
	return []need{
		{"qemu-system-x86", onPath(qemuProgram)},
		{"seabios", anyFile("/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin")},
		{"xz-utils", onPath("xz")},
		{"dpkg", onPath("dpkg-deb")},
		{"apt", onPath("apt-get")},
	}
}

// Missing names the Debian packages that have to be installed before the rig
// can run here; none when it can.
func Missing() []string {
	var names []string
	for _, n := range needs() {
		if !n.present() {
			names = append(names, n.debianPackage)
		}
	}
	return names
}
