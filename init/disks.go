package pid1

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// unmountDisks unmounts what lies on a block device, last mounted first. The
// rest is memory and ends with the domain. table has the form of /proc/mounts.
func unmountDisks(table string, unmount func(target string) error) error {
	f, err := os.Open(table)
	if err != nil {
		return fmt.Errorf("unmount disks: %w", err)
	}
	defer f.Close()
	var targets []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 3 && strings.HasPrefix(fields[0], "/dev/") {
			targets = append(targets, mountPath(fields[1]))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("unmount disks: %w", err)
	}
	var failed []error
	for _, target := range slices.Backward(targets) {
		if err := unmount(target); err != nil {
			failed = append(failed, fmt.Errorf("unmount %s: %w", target, err))
		}
	}
	return joined(failed)
}

// mountPath undoes the four escapes of /proc/mounts (mangle() in fs/proc_namespace.c).
func mountPath(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
