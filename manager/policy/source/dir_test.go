package source

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Rules as the files of the tests have them.
const (
	first  = "echo * db1 allow"
	second = "7000 web db1 allow"
	broken = "echo * db1 perhaps"
)

// startDir runs the source of a directory.
func startDir(t *testing.T, path string) *running {
	t.Helper()
	r := new(running)
	d, err := NewDir(path, slog.New(&r.lines))
	if err != nil {
		t.Fatal(err)
	}
	r.state = d.State
	return start(t, d.Run, r)
}

// must fails the test for an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write puts a file there at once and whole, with the directories above it.
func write(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name+"~", []byte(text), 0o644))
	must(t, os.Rename(name+"~", name))
}

func TestAChangeAppliesLive(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/10-base.policy", first)
	r := startDir(t, dir)
	r.expect("10-base.policy:1: " + first + "\n")
	before := r.state()
	write(t, dir+"/05-more.policy", "# why\n"+second+"\n")
	r.expect("05-more.policy:2: " + second + "\n10-base.policy:1: " + first + "\n")
	r.line("policy in force")
	r.line("policy in force")
	now := r.state()
	if now.Source != dir || now.Rules != 2 || now.Error != "" || now.Version == before.Version || !now.Since.After(before.Since) {
		t.Errorf("state was %+v, is %+v", before, now)
	}
	must(t, os.Remove(dir+"/10-base.policy"))
	r.expect("05-more.policy:2: " + second + "\n")
	must(t, os.WriteFile(dir+"/05-more.policy", []byte(first), 0o644)) // in place
	r.expect("05-more.policy:1: " + first + "\n")
}

func TestADirectoryThatDoesNotExistYetIsWaitedFor(t *testing.T) {
	root := t.TempDir()
	dir := root + "/etc/xvsock/policy"
	r := startDir(t, dir)
	r.expect("")
	r.line("there is no policy: nothing is allowed")
	if s := r.state(); s.Rules != 0 || s.Version == "" || s.Error != "" {
		t.Errorf("state is %+v", s)
	}
	write(t, dir+"/10-base.policy", first)
	r.expect("10-base.policy:1: " + first + "\n")
	must(t, os.RemoveAll(root+"/etc"))
	r.expect("")
	write(t, dir+"/10-base.policy", second)
	r.expect("10-base.policy:1: " + second + "\n")
}

func TestADirectoryThatIsReplacedIsFollowed(t *testing.T) {
	for name, c := range map[string]struct {
		before, swap func(t *testing.T, root string)
	}{
		"renamed away, another in its place": {
			func(t *testing.T, root string) { must(t, os.Rename(root+"/a", root+"/policy")) },
			func(t *testing.T, root string) {
				must(t, os.Rename(root+"/policy", root+"/old"))
				must(t, os.Rename(root+"/b", root+"/policy"))
			},
		},
		"a link that is turned": {
			func(t *testing.T, root string) { must(t, os.Symlink("a", root+"/policy")) },
			func(t *testing.T, root string) {
				must(t, os.Symlink(root+"/b", root+"/new"))
				must(t, os.Rename(root+"/new", root+"/policy"))
			},
		},
		"a link on the way to a link": {
			func(t *testing.T, root string) {
				must(t, os.Symlink("a", root+"/current"))
				must(t, os.Symlink("./sub/../current", root+"/policy"))
				must(t, os.Mkdir(root+"/sub", 0o755))
			},
			func(t *testing.T, root string) {
				must(t, os.Symlink("b", root+"/new"))
				must(t, os.Rename(root+"/new", root+"/current"))
			},
		},
		"a link that leads nowhere at first": {
			func(t *testing.T, root string) {
				must(t, os.Symlink("later", root+"/policy"))
				must(t, os.Rename(root+"/a", root+"/later"))
			},
			func(t *testing.T, root string) {
				must(t, os.Rename(root+"/later", root+"/gone"))
				must(t, os.Rename(root+"/b", root+"/later"))
			},
		},
		"files that are links into a directory that is swapped": {
			func(t *testing.T, root string) {
				must(t, os.Mkdir(root+"/policy", 0o755))
				must(t, os.Symlink("../a", root+"/policy/..data"))
				must(t, os.Symlink("..data/10-base.policy", root+"/policy/10-base.policy"))
			},
			func(t *testing.T, root string) {
				must(t, os.Symlink("../b", root+"/policy/..new"))
				must(t, os.Rename(root+"/policy/..new", root+"/policy/..data"))
			},
		},
		"a file that is a link to one that is changed": {
			func(t *testing.T, root string) {
				must(t, os.Mkdir(root+"/policy", 0o755))
				must(t, os.Symlink(root+"/a/10-base.policy", root+"/policy/10-base.policy"))
			},
			func(t *testing.T, root string) { write(t, root+"/a/10-base.policy", second) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root+"/a/10-base.policy", first)
			write(t, root+"/b/10-base.policy", second)
			c.before(t, root)
			r := startDir(t, root+"/policy")
			r.expect("10-base.policy:1: " + first + "\n")
			c.swap(t, root)
			r.expect("10-base.policy:1: " + second + "\n")
		})
	}
}

func TestABadSetIsRefusedWhole(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/10-base.policy", first)
	r := startDir(t, dir)
	r.expect("10-base.policy:1: " + first + "\n")
	write(t, dir+"/10-base.policy", second)
	write(t, dir+"/20-more.policy", "\n"+broken)
	said := r.line(refusedLine)
	s := r.state()
	if s.Rules != 1 || !strings.HasPrefix(s.Error, "20-more.policy:2: ") || s.RefusedSince.IsZero() || !strings.Contains(said, s.Error) {
		t.Errorf("state is %+v, logged %s", s, said)
	}
	// The same error again, in another set, is not logged again; another is.
	write(t, dir+"/30-more.policy", first)
	write(t, dir+"/20-more.policy", "\n\n"+broken)
	if said := r.line(refusedLine); !strings.Contains(said, "20-more.policy:3: ") {
		t.Errorf("logged %s", said)
	}
	if now := r.state(); now.RefusedSince != s.RefusedSince || now.Version != s.Version || now.Since != s.Since {
		t.Errorf("state was %+v, is %+v", s, now)
	}
	write(t, dir+"/20-more.policy", "")
	r.expect("10-base.policy:1: " + second + "\n30-more.policy:1: " + first + "\n")
	r.line("policy is good again")
	if now := r.state(); now.Error != "" || !now.RefusedSince.IsZero() || now.Version == s.Version {
		t.Errorf("state is %+v", now)
	}
}

func TestTheSetBeforeComesBackWithoutBeingAppliedAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/10-base.policy", first)
	r := startDir(t, dir)
	r.expect("10-base.policy:1: " + first + "\n")
	write(t, dir+"/20-more.policy", broken)
	r.line(refusedLine)
	must(t, os.Remove(dir+"/20-more.policy"))
	r.line("policy is good again")
	if s := r.state(); len(r.applied) != 0 || s.Error != "" || s.Rules != 1 {
		t.Errorf("%d sets applied, %+v", len(r.applied), s)
	}
}

func TestABadSetAtTheStartLeavesAllDenied(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/10-base.policy", broken)
	d, err := NewDir(dir, nil)
	must(t, err)
	r := start(t, d.Run, &running{state: d.State})
	<-d.Ready()
	if s := d.State(); s.Version != "" || s.Rules != 0 || !s.Since.IsZero() || !strings.HasPrefix(s.Error, "10-base.policy:1: ") {
		t.Errorf("state is %+v", s)
	}
	if len(r.applied) != 0 {
		t.Error("a bad set is applied")
	}
}

func TestOnlyPolicyFilesCount(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		".10-base.policy.swp", "10-base.policy~", "#10-base.policy#", "4913", "10-base.policy.rpmsave", "README",
		".10-base.policy", "00-.policy", "1-base.policy", "base.policy", "100-base.policy", "1x-base.policy", "10_base.policy", ".policy",
	} {
		write(t, filepath.Join(dir, name), broken)
	}
	must(t, os.Symlink("somebody@host.17", dir+"/.#10-base.policy"))
	write(t, dir+"/10-base.policy", first)
	r := startDir(t, dir)
	r.expect("10-base.policy:1: " + first + "\n")
	const want = `files=["00-.policy" "1-base.policy" "100-base.policy" "10_base.policy" "1x-base.policy" "base.policy"] `
	if said := r.line("files ignored: a policy file is named as 10-name.policy"); said != want {
		t.Errorf("logged %s, want %s", said, want)
	}
	// Told once, not with every change.
	write(t, dir+"/10-base.policy", second)
	r.expect("10-base.policy:1: " + second + "\n")
	if len(r.lines.of("files ignored: a policy file is named as 10-name.policy")) != 0 {
		t.Error("the same files are told again")
	}
}

func TestWhatIsNoRegularFileIsRefused(t *testing.T) {
	for name, make := range map[string]func(name string) error{
		"a pipe that nobody writes into": func(name string) error { return syscall.Mkfifo(name, 0o644) },
		"a directory":                    func(name string) error { return os.Mkdir(name, 0o755) },
		"a link to nothing":              func(name string) error { return os.Symlink("nothing", name) },
		"an endless device":              func(name string) error { return os.Symlink("/dev/zero", name) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/10-base.policy", first)
			must(t, make(dir+"/20-odd.policy"))
			r := startDir(t, dir)
			if said := r.line(refusedLine); !strings.Contains(said, "20-odd.policy: ") {
				t.Errorf("logged %s", said)
			}
			must(t, os.Remove(dir+"/20-odd.policy"))
			r.expect("10-base.policy:1: " + first + "\n")
		})
	}
}

func TestAPathThatIsNoDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir() + "/policy"
	write(t, dir, first)
	r := startDir(t, dir)
	r.line(refusedLine)
	must(t, os.Remove(dir))
	r.expect("")
	must(t, os.Symlink("policy", dir)) // to itself
	r.line(refusedLine)
	if s := r.state(); s.Error == "" {
		t.Errorf("state is %+v", s)
	}
}
