// Package image makes what a service domain boots from, and checks it: an
// initramfs that holds one static program, the kernel modules it needs and the
// payload, and the xl configuration that starts it.
//
// The initramfs is reproducible: the same program, kernel, modules and payload
// give the same bytes, whatever the time, the owner or the umask. Without a
// payload it holds nothing else than
//
//	init                              the program, run by the kernel as PID 1
//	sbin/poweroff, reboot, xvsock     links to it
//	dev/console                       so that the kernel can open a console
//	dev etc proc run sys tmp          empty mount points
//	lib/modules/VERSION               modules, modules.dep, modules.builtin
//	etc/xvsock.toml                   settings, if there are any
//
// so a domain needs one kernel and this one file. What Build writes it trusts;
// what Check reads may be anybody's: all of it is bounded before it is used, and
// nothing in it is run.
package image
