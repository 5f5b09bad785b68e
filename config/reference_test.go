package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

func TestTheReferencePageIsThatOfTheTable(t *testing.T) {
	const path = "../docs/configuration.md"
	var want bytes.Buffer
	if err := config.Settings(standard()).Reference(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("run go test ./config -run Reference -update (-table +page):\n%s", diff)
	}
}

func TestTheReferencePageHasEveryKeyAndService(t *testing.T) {
	var b bytes.Buffer
	if err := table().Reference(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, key := range table().Keys() {
		for _, want := range []string{"\n### " + key.Name + "\n", "(#" + key.Name + ")", key.Help} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
	}
	for _, s := range []string{"| clock | 1000 | if it is named |", "| zone | 1001 | every domain |"} {
		if !strings.Contains(page, s) {
			t.Errorf("the page lacks %q", s)
		}
	}
}

// What programs may rely on is what people write them by.
func TestTheReferencePageTellsWhatProgramsFind(t *testing.T) {
	var b bytes.Buffer
	if err := table().Reference(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`PATH`", "`HOME`", "`TERM`", "`XVSOCK_SERVICE`", "`XVSOCK_PORT`", "`XVSOCK_PEER_CID`", "`XVSOCK_PEER_PORT`", "`XVSOCK_PEER_NAME`",
		"`XVSOCK_PEER_UUID`", "`LISTEN_FDS`", "`LISTEN_PID`", "`LISTEN_FDNAMES`", "`xvsock/CID/PORT/SERIAL`", "setsid", "xl create -p",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// What the page shows for the command line and the file is read as it is shown.
func TestTheExamplesOfTheReferencePageAreRight(t *testing.T) {
	var b bytes.Buffer
	if err := table().Reference(&b); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(b.String()) {
		var source config.Source
		var problems []config.Problem
		var err error
		if rest, ok := strings.CutPrefix(line, "command line   "); ok {
			source, problems, err = config.CommandLine(strings.NewReader(rest), "PV")
		} else if rest, ok := strings.CutPrefix(line, "xvsock.toml    "); ok {
			source, problems, err = config.Text("xvsock.toml", strings.NewReader(rest))
		} else {
			continue
		}
		lines++
		_, more := table().Resolve(source)
		if problems = append(problems, more...); err != nil || len(problems) > 0 || len(source.Settings) == 0 {
			t.Errorf("%s: %v, %q", line, err, texts(problems))
		}
	}
	if want := 2 * len(table().Keys()); lines != want {
		t.Errorf("%d examples, want %d", lines, want)
	}
}

// full is a disk that is.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestReferenceSaysThatItCouldNotWrite(t *testing.T) {
	if err := table().Reference(full{}); err == nil {
		t.Error("Reference() hid the error")
	}
}
