// Package docs_test looks at the pages of this directory: whether what they say to type
// can be typed. Some of the pages are also followed, command by command, on real Xen, in
// package image.
package docs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"xvsock/cli"
	"xvsock/config"
)

// applications is the page for authors of programs.
const applications = "applications.md"

// block is what stands between two fences.
type block struct {
	kind string // console, sh, go, python, toml
	line int    // of the page, from 1
	text string
}

// blocks are those of a page.
func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var b *block
	for n, line := range strings.Split(string(text), "\n") {
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && b == nil:
			b = &block{kind: kind, line: n + 2}
		case fence:
			all = append(all, *b)
			b = nil
		case b != nil:
			b.text += line + "\n"
		}
	}
	if b != nil {
		t.Fatalf("%s:%d: a block has no end", page, b.line)
	}
	return all
}

// commands are the commands of a page, without their prompts.
func commands(t *testing.T, page string) (all []string) {
	t.Helper()
	prompts := []string{"$ ", "dom0# ", "web-1# ", "db1# "}
	for _, b := range blocks(t, page) {
		if b.kind == "sh" {
			all = append(all, strings.Split(strings.TrimSpace(b.text), "\n")...)
		}
		if b.kind != "console" {
			continue
		}
		for line := range strings.Lines(b.text) {
			i := slices.IndexFunc(prompts, func(p string) bool { return strings.HasPrefix(line, p) })
			if i < 0 {
				t.Errorf("%s:%d: %q has no prompt", page, b.line, line)
				continue
			}
			all = append(all, strings.TrimSpace(strings.TrimPrefix(line, prompts[i])))
		}
	}
	return all
}

func TestEveryCommandOfThePageIsShell(t *testing.T) {
	all := commands(t, applications)
	if len(all) < 20 {
		t.Fatalf("only %d commands", len(all))
	}
	for _, command := range all {
		c := exec.Command("sh", "-n")
		c.Stdin = strings.NewReader(command + "\n")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}

func TestEveryXvsockCommandOfThePageIsOne(t *testing.T) {
	called := regexp.MustCompile(`\bxvsock ([a-z]+[^|;&')]*)`)
	found := 0
	for _, command := range commands(t, applications) {
		for _, match := range called.FindAllStringSubmatch(command, -1) {
			found++
			// What stands behind -- is another program's.
			words, _, _ := strings.Cut(match[1], " -- ")
			args := strings.Fields(words)
			c, rest, err := cli.Command("").Find(args)
			if err != nil || !c.HasParent() || !c.Runnable() {
				t.Errorf("%s: no command %q: %v", command, args[0], err)
				continue
			}
			if err := c.ParseFlags(rest); err != nil && err != pflag.ErrHelp {
				t.Errorf("%s: %v", command, err)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d commands of xvsock", found)
	}
}

func TestEveryGoBlockOfThePageCompiles(t *testing.T) {
	n := 0
	for _, b := range blocks(t, applications) {
		if b.kind != "go" {
			continue
		}
		n++
		file := filepath.Join(t.TempDir(), fmt.Sprintf("line%d.go", b.line))
		if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"build", "-o", os.DevNull, file}, {"vet", file}} {
			if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
				t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
		if out, err := exec.Command("gofmt", "-l", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("gofmt -l: %v\n%s", err, out)
		}
	}
	if n == 0 {
		t.Error("no Go on the page")
	}
}

func TestEveryPythonBlockOfThePageCompiles(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: apt-get install python3")
	}
	n := 0
	for _, b := range blocks(t, applications) {
		if b.kind != "python" {
			continue
		}
		n++
		c := exec.Command(python, "-c", "import sys; compile(sys.stdin.read(), 'page', 'exec')")
		c.Stdin = strings.NewReader(b.text)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("line %d: %v\n%s", b.line, err, out)
		}
	}
	if n == 0 {
		t.Error("no Python on the page")
	}
}

func TestEverySettingOfThePageIsOne(t *testing.T) {
	n := 0
	for _, b := range blocks(t, applications) {
		if b.kind != "toml" {
			continue
		}
		n++
		source, problems, err := config.Text(applications, strings.NewReader(b.text))
		if err != nil {
			t.Fatal(err)
		}
		_, more := config.Settings(nil).Resolve(source)
		for _, p := range append(problems, more...) {
			t.Errorf("line %d: %v", b.line, p)
		}
	}
	if n == 0 {
		t.Error("no settings on the page")
	}
}

func TestEveryLinkOfThePageLeadsSomewhere(t *testing.T) {
	text, err := os.ReadFile(applications)
	if err != nil {
		t.Fatal(err)
	}
	heads := headings(text)
	links := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllSubmatch(text, -1)
	if len(links) < 10 {
		t.Fatalf("only %d links", len(links))
	}
	for _, link := range links {
		path, anchor, _ := strings.Cut(string(link[1]), "#")
		switch {
		case strings.HasPrefix(path, "http"):
			continue
		case path != "":
			other, err := os.Stat(path)
			if err != nil {
				t.Errorf("%s: %v", link[1], err)
				continue
			}
			if anchor == "" || other.IsDir() {
				continue
			}
			target, err := os.ReadFile(path)
			if err != nil || !slices.Contains(headings(target), anchor) {
				t.Errorf("%s: no such heading (%v)", link[1], err)
			}
		case !slices.Contains(heads, anchor):
			t.Errorf("%s: no such heading", link[1])
		}
	}
}

// headings are the anchors of a page.
func headings(text []byte) (all []string) {
	for line := range bytes.Lines(text) {
		title := bytes.TrimLeft(line, "#")
		if len(title) == len(line) {
			continue
		}
		name := strings.ToLower(strings.TrimSpace(string(title)))
		name = regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(name, "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
