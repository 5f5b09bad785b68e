// Package rig is a real Xen host in QEMU, for tests and benchmarks on any
// x86-64 Debian machine, with or without KVM, with or without root.
//
// Xen, its tools and the kernels come from Debian packages that are unpacked
// once into a cache (see Fetch); nothing is installed but QEMU. Dom0 is an
// initramfs built for each boot. A scenario is an ordinary Go test:
//
//	func TestPVGuestSpeaks(t *testing.T) {
//		s := rig.Boot(t, rig.Config{})
//		s.Sh("xl list")
//		guest := s.Guest(rig.Guest{Name: "web", Type: image.PV, Ramdisk: initramfs})
//		s.Await(guest, "ready")
//	}
//
// Commands run in dom0 over a virtio serial port of their own, so what they
// print never mixes with a console. Every console and every command is logged
// into a directory that stays when the test fails and is named in its output.
//
// Boot and Scenario are for tests; Start and Host do the same with errors.
package rig
