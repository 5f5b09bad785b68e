package source

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"

	"xvsock/manager/policy"
)

func TestLoadDirTellsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		fill func(t *testing.T, dir string)
		want error
	}{
		"no directory":   {func(t *testing.T, dir string) { must(t, os.Remove(dir)) }, fs.ErrNotExist},
		"too much text":  {func(t *testing.T, dir string) { write(t, dir+"/10-a.policy", strings.Repeat("#\n", MaxText/2)+"#") }, ErrTooBig},
		"too many files": {func(t *testing.T, dir string) { fill(t, dir, "10-%d.policy", MaxFiles+1) }, ErrTooBig},
		"too many names": {func(t *testing.T, dir string) { fill(t, dir, "%d", maxEntries+1) }, ErrTooBig},
		"too much text in two files": {func(t *testing.T, dir string) {
			for _, name := range []string{"/10-a.policy", "/10-b.policy"} {
				write(t, dir+name, strings.Repeat("#\n", MaxText/4)+"#")
			}
		}, ErrTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.fill(t, dir)
			if _, err := LoadDir(dir); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
		})
	}
}

// fill makes n empty files.
func fill(t *testing.T, dir, name string, n int) {
	t.Helper()
	for i := range n {
		must(t, os.WriteFile(dir+"/"+fmt.Sprintf(name, i), nil, 0o644))
	}
}

func TestLoadDirTakesAllWithinTheBounds(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, "10-%d.policy", MaxFiles)
	write(t, dir+"/10-0.policy", first+strings.Repeat("\n", MaxText-len(first)))
	write(t, dir+"/README", "")
	l, err := LoadDir(dir)
	if err != nil || len(l.Set.Rules()) != 1 || l.At.IsZero() || l.Skipped != nil {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestTheVersionIsOfTheContent(t *testing.T) {
	versions := make(map[string]reading)
	for _, r := range []reading{
		{},
		{absent: true},
		{files: []policy.File{{Name: "10-a.policy"}}},
		{files: []policy.File{{Name: "10-a.policy", Text: first}}},
		{files: []policy.File{{Name: "10-b.policy", Text: first}}},
		{files: []policy.File{{Name: "10-a.policy", Text: first + "\n"}}},
		{files: []policy.File{{Name: "10-a.policy", Text: "ab"}, {Name: "10-b.policy", Text: "c"}}},
		{files: []policy.File{{Name: "10-a.policy", Text: "a"}, {Name: "10-b.policy", Text: "bc"}}},
		{files: []policy.File{{Name: "10-a.policy", Text: "10-b.policy"}}},
		{files: []policy.File{{Name: "10-a.policy"}, {Name: "10-b.policy"}}},
		{files: []policy.File{{Name: "10-a.policy", Text: "ab11 1\n10-b.policyc"}}},
	} {
		v := r.version()
		if other, twice := versions[v]; twice {
			t.Errorf("%+v and %+v have the version %s", r, other, v)
		}
		if versions[v] = r; v != r.version() || len(v) != 12 {
			t.Errorf("version %s, then %s", v, r.version())
		}
	}
}

func TestASetIsTakenWhenTwoReadingsAgree(t *testing.T) {
	set := func(texts ...string) (r reading) {
		for i, text := range texts {
			r.files = append(r.files, policy.File{Name: fmt.Sprint(i), Text: text})
		}
		return r
	}
	bad := errors.New("gone meanwhile")
	type result struct {
		reading
		err error
	}
	for name, c := range map[string]struct {
		readings []result
		want     result
	}{
		"nothing changes":                {[]result{{set("a"), nil}, {set("a"), nil}}, result{set("a"), nil}},
		"half before and half after":     {[]result{{set("a", "B"), nil}, {set("A", "B"), nil}, {set("A", "B"), nil}}, result{set("A", "B"), nil}},
		"a file goes between two looks":  {[]result{{err: bad}, {set("a"), nil}, {set("a"), nil}}, result{set("a"), nil}},
		"an error that stays":            {[]result{{err: bad}, {err: bad}}, result{err: bad}},
		"changes at every look, bounded": {[]result{{set("a"), nil}, {set("b"), nil}, {set("c"), nil}, {set("d"), nil}, {set("e"), nil}}, result{set("e"), nil}},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			r, err := agreed(func() (reading, error) { n++; return c.readings[n-1].reading, c.readings[n-1].err })
			if err != c.want.err || r.version() != c.want.version() || n != len(c.readings) {
				t.Errorf("took %+v, %v after %d readings; want %+v, %v after %d", r, err, n, c.want.reading, c.want.err, len(c.readings))
			}
		})
	}
}

func TestWhatCannotBeWatchedIsTakenAndLookedAtAgain(t *testing.T) {
	k := newKeeper("/p", nil)
	applied := 0
	apply := func(*policy.Set) { applied++ }
	set := reading{files: []policy.File{{Name: "10-a.policy", Text: first}}}
	if retry := k.take(set, nil, errors.New("no more inotify instances"), apply); retry != retryPause || applied != 1 {
		t.Errorf("applied %d times, looked at again after %v", applied, retry)
	}
	if s := k.State(); s.Rules != 1 || s.Error != "changes are seen late: no more inotify instances" || s.RefusedSince.IsZero() {
		t.Errorf("state is %+v", s)
	}
	if retry := k.take(set, nil, nil, apply); retry != 0 || applied != 1 || k.State().Error != "" {
		t.Errorf("applied %d times, looked at again after %v, %+v", applied, retry, k.State())
	}
}

func TestEachThingThatIsWrongIsLoggedOnce(t *testing.T) {
	var lines logged
	k := newKeeper("/p", slog.New(&lines))
	apply := func(*policy.Set) {}
	for _, wrong := range []string{"a", "a", "b", "b", ""} {
		var err error
		if wrong != "" {
			err = errors.New(wrong)
		}
		k.take(reading{}, err, nil, apply)
	}
	if n := len(lines.of(refusedLine)); n != 2 {
		t.Errorf("%d lines about two errors", n)
	}
	k.take(reading{}, errors.New("b"), nil, apply)
	if n := len(lines.of(refusedLine)); n != 3 {
		t.Errorf("%d lines: an error that has come back is another", n)
	}
}
