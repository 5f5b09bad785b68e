// Package image makes what a service domain boots from: an initramfs that
// holds one static program and the kernel modules it needs, and the xl
// configuration that starts it.
//
// The initramfs is reproducible: the same program, kernel and modules give
// the same bytes. It holds nothing else than
//
//	init                              the program, run by the kernel as PID 1
//	sbin/poweroff, reboot, xvsock     links to it
//	dev/console                       so that the kernel can open a console
//	dev etc proc run sys tmp          empty mount points
//	lib/modules/VERSION               modules, modules.dep, modules.builtin
//
// so a domain needs one kernel and this one file.
package image
