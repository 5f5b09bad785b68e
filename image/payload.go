package image

import (
	"bytes"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"xvsock/config"
)

// servicePrograms says what an image lacks of the programs that its settings
// name, and of what else they name by path.
func servicePrograms(t tree, c config.Config) []Finding {
	var found []Finding
	for _, s := range c.Services {
		if s.Kind != config.Exec && s.Kind != config.ExecOnce || len(s.Args) == 0 {
			continue
		}
		f := runnable(t, s.Args[0])
		if n := t.find(s.Args[0]); f.Reason == "" && !n.runsFor(s.UID, s.GID) {
			f.Level, f.Fix = Wrong, "chmod +x it before it is added"
			f.Reason = fmt.Sprintf("uid %d, gid %d may not execute it (mode %#o)", s.UID, s.GID, n.mode&0o777)
		}
		if f.Reason == "" {
			continue
		}
		f.Reason = fmt.Sprintf("service %s runs it, but %s", s.Name, f.Reason)
		found = append(found, f)
	}
	if dir := t.find(c.Policy); c.Policy != config.PolicyInStore && c.Policy != "" && (dir == nil || !dir.is(unix.S_IFDIR)) {
		found = append(found, Finding{Missing, c.Policy, "the policy is to come from it, but there is no such directory",
			"add it with --add DIR:" + c.Policy})
	}
	if c.Panic == config.Shell && runnable(t, "/bin/sh").Reason != "" && runnable(t, "/bin/busybox").Reason != "" {
		found = append(found, Finding{Warning, "/bin/sh", "panic=shell needs it, or /bin/busybox; without them the domain halts",
			"add a static shell with --add FILE:/bin/sh"})
	}
	return found
}

// runsFor reports whether the permissions of n let a user without further groups
// execute it.
func (n *node) runsFor(uid, gid int) bool {
	switch {
	case uid == 0:
		return true
	case uid == int(n.uid):
		return n.mode&0o100 != 0
	case gid == int(n.gid):
		return n.mode&0o010 != 0
	}
	return n.mode&0o001 != 0
}

// runnable says what keeps the program at an absolute path of the image from
// being run; Reason is empty if nothing does.
func runnable(t tree, name string) Finding {
	f := Finding{Level: Missing, Thing: name, Fix: "add it with --add FILE:" + name}
	n := t.find(name)
	switch {
	case belowMount(path.Clean(name)[1:]) != "":
		f.Reason = "PID 1 mounts a file system on /" + belowMount(path.Clean(name)[1:])
		f.Level, f.Fix = Wrong, "put it elsewhere"
	case n == nil:
		f.Reason = "it is not in the image"
	case !n.is(unix.S_IFREG):
		f.Level, f.Reason = Wrong, "it is no file"
	case !n.executable():
		f.Level, f.Reason, f.Fix = Wrong, "it is not executable", "chmod +x it before it is added"
	default:
		f.Level = Wrong
		f.Reason, f.Fix = unfit(t, n.data)
	}
	return f
}

// otherPrograms warns of executable files that could not be run, but for those
// that a finding names already.
func otherPrograms(t tree, said []Finding) []Finding {
	done := map[*node]bool{t.find("init"): true}
	for _, f := range said {
		done[t.find(f.Thing)] = true
	}
	var found []Finding
	for _, name := range sortedNames(t) {
		n := t[name]
		if !n.executable() || !isProgram(n.data) || done[n] {
			continue
		}
		done[n] = true
		if reason, fix := unfit(t, n.data); reason != "" {
			found = append(found, Finding{Warning, "/" + name, reason, fix})
		}
	}
	return found
}

// isProgram reports whether a file begins like one that the kernel runs.
func isProgram(data []byte) bool {
	return isScript(data) || bytes.HasPrefix(data, []byte("\x7fELF"))
}
