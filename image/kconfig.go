package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxKernelConfig bounds a kernel's configuration in bytes, unpacked. Debian's
// has 250 KiB.
const maxKernelConfig = 8 << 20

// ErrKernelConfig says that a file is not the configuration of a kernel.
var ErrKernelConfig = errors.New("not a kernel's configuration")

// kernelConfig is what a kernel was built with: y, m or a value by option
// ("CONFIG_XEN"). Options that are not set are missing.
type kernelConfig map[string]string

// readKernelConfig reads config-VERSION, .config or config.gz.
func readKernelConfig(file string) (kernelConfig, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %w", err)
	}
	if f := compression(data); f != nil && f.unpack != nil {
		if data, _, err = f.unpack(data, maxKernelConfig); err != nil {
			return nil, fmt.Errorf("read kernel configuration %s: %w", file, err)
		}
	}
	c, err := parseKernelConfig(data)
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration %s: %w", file, err)
	}
	return c, nil
}

// parseKernelConfig reads OPTION=VALUE lines. All others are comments.
func parseKernelConfig(data []byte) (kernelConfig, error) {
	c := make(kernelConfig)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		option, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if ok && strings.HasPrefix(option, "CONFIG_") && value != "n" {
			c[option] = value
		}
	}
	if err := lines.Err(); err != nil || len(c) == 0 {
		return nil, ErrKernelConfig
	}
	return c, nil
}

// need is something that a service domain's kernel has built in, by any of a few
// options, and what for.
type need struct {
	options []string
	reason  string
}

// needed lists it all, but for what Xen's drivers and the image's compression
// take.
func needed() []need {
	return []need{
		{[]string{"CONFIG_XEN"}, "the kernel runs on Xen"},
		{[]string{"CONFIG_XEN_PV", "CONFIG_XEN_PVH"}, "it boots as a PV or PVH domain"},
		{[]string{"CONFIG_BLK_DEV_INITRD"}, "it boots from an initramfs"},
		{[]string{"CONFIG_BINFMT_ELF"}, "it runs PID 1"},
		{[]string{"CONFIG_PROC_FS"}, "PID 1 mounts /proc"},
		{[]string{"CONFIG_SYSFS"}, "PID 1 mounts /sys"},
		{[]string{"CONFIG_DEVTMPFS"}, "PID 1 mounts /dev, and Xen's devices appear there"},
		{[]string{"CONFIG_TMPFS"}, "PID 1 mounts /run and /tmp"},
		{[]string{"CONFIG_UNIX"}, "the control socket is a unix socket"},
		{[]string{"CONFIG_EPOLL"}, "Go's runtime waits with it"},
		{[]string{"CONFIG_EVENTFD"}, "Go's runtime waits with it"},
		{[]string{"CONFIG_FUTEX"}, "Go's runtime locks with it"},
	}
}

// has reports whether an option is built in.
func (c kernelConfig) has(option string) bool { return c[option] == "y" }

// driverOption gives the option that builds one of DefaultModules, "" for other
// modules.
func driverOption(module string) string {
	switch module {
	case "xen_evtchn":
		return "CONFIG_XEN_DEV_EVTCHN"
	case "xen_gntdev":
		return "CONFIG_XEN_GNTDEV"
	case "xen_gntalloc":
		return "CONFIG_XEN_GRANT_DEV_ALLOC"
	}
	return ""
}

// configBeside gives config-VERSION in the directory of the kernel's file, where
// distributions have it; "" if it is not there.
func configBeside(kernel, version string) string {
	file := filepath.Join(filepath.Dir(kernel), "config-"+version)
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return file
}
