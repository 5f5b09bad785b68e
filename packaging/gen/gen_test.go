package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/cli"
)

func TestTheDateIsTheSources(t *testing.T) {
	for epoch, want := range map[string]string{"": "1970-01-01", "1700000000": "2023-11-14"} {
		if date, err := sourceDate(epoch); err != nil || date.Format(time.DateOnly) != want {
			t.Errorf("%q is %v (%v), want %s", epoch, date, err, want)
		}
	}
	for _, epoch := range []string{"today", "1.5", " 1"} {
		if date, err := sourceDate(epoch); err == nil {
			t.Errorf("%q is taken for %v", epoch, date)
		}
	}
}

func TestAPageBearsTheGivenDateAndNoOther(t *testing.T) {
	dir := t.TempDir()
	if err := writePages(cli.Command("v1"), "v1", time.Unix(0, 0).UTC(), dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "xvsock-attach.8"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"Jan 1970"`) || strings.Contains(string(text), "Auto generated") {
		t.Errorf("the page is\n%s", text)
	}
}

func TestABinaryWithoutALicenceIsNotPackaged(t *testing.T) {
	if err := generate("v1", "", t.TempDir()); err == nil {
		t.Error("no binary is no error")
	}
	if err := writeLicences("/etc/passwd", filepath.Join(t.TempDir(), "licences")); err == nil {
		t.Error("a file that is no Go program is no error")
	}
	if err := addLicence(nil, "a module", t.TempDir()); err == nil || !strings.Contains(err.Error(), "a module") {
		t.Errorf("a module without a licence: %v", err)
	}
}
