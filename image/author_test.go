package image_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// authorPage is the page that takes a service author to a domain of their own.
const authorPage = "docs/service-domain.md"

// pageCommand is a command of the page.
type pageCommand struct {
	dom0 bool // it is given in dom0
	text string
}

// pageCommands reads the commands of a page: in its console blocks, lines after "$ " and
// "dom0# ".
func pageCommands(t *testing.T, page string) (all []pageCommand) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "```") {
			inside = line == "```console"
			continue
		}
		if !inside {
			continue
		}
		here, isHere := strings.CutPrefix(line, "$ ")
		there, isThere := strings.CutPrefix(line, "dom0# ")
		switch {
		case isHere:
			all = append(all, pageCommand{text: here})
		case isThere:
			all = append(all, pageCommand{dom0: true, text: there})
		default:
			t.Fatalf("%s: %q is no command", page, line)
		}
	}
	return all
}

// checkout copies the sources to a directory of their own, as git knows them.
func checkout(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serviceAuthor gives every command of the page, where it says, and has each succeed.
func (h *xenHost) serviceAuthor() {
	root, err := filepath.Abs("..")
	if err != nil {
		h.t.Fatal(err)
	}
	dir := checkout(h.t, root)
	sent := false
	for _, c := range pageCommands(h.t, filepath.Join(root, authorPage)) {
		if !c.dom0 {
			h.author(dir, c.text)
			continue
		}
		if !sent {
			h.sendAuthored(dir)
			sent = true
		}
		h.authorDom0(c.text)
	}
	h.Sh("rm -r /etc/xvsock")
	h.stops(h.backend)
}

// author gives a command where the author builds.
func (h *xenHost) author(dir, command string) {
	h.t.Helper()
	c := exec.CommandContext(h.t.Context(), "sh", "-ec", command)
	c.Dir = dir
	c.Env = append(os.Environ(), "KERNEL="+h.Parts.Guest.Image, "MODULES="+h.Parts.Guest.Modules)
	out, err := c.CombinedOutput()
	h.t.Logf("$ %s\n%s", command, out)
	if err != nil {
		h.t.Fatalf("$ %s: %v", command, err)
	}
}

// sendAuthored copies to dom0 what the page says is copied there.
func (h *xenHost) sendAuthored(dir string) {
	h.t.Helper()
	h.Sh("mkdir -p /var/lib/xvsock")
	for from, to := range map[string]string{
		h.Parts.Guest.Boot: "vmlinuz", filepath.Join(dir, "kv.cpio.gz"): "kv.cpio.gz", filepath.Join(dir, "kv.cfg"): "kv.cfg",
	} {
		h.Put(from, "/var/lib/xvsock/"+to)
	}
	h.Put(filepath.Join(dir, "bin/xvsock"), "/usr/bin/xvsock")
}

// authorDom0 gives a command in dom0. What asks a domain that has just been created
// may have to be asked again.
func (h *xenHost) authorDom0(command string) {
	h.t.Helper()
	if background, ok := strings.CutSuffix(command, " &"); ok {
		p := h.Background(background)
		if strings.HasPrefix(command, "xvsock backend") {
			h.backend = p
		}
		return
	}
	asks := slices.ContainsFunc([]string{"services", "health", "config", "log", "metrics"}, func(verb string) bool {
		return strings.HasPrefix(command, fmt.Sprintf("xvsock %s kv", verb))
	})
	if !asks {
		h.t.Logf("dom0# %s\n%s", command, h.Sh(command))
		return
	}
	h.t.Logf("dom0# %s\n%s", command, h.until(command, time.Minute, func(out string) bool { return out != "" }))
}
