package main

import (
	"bytes"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// section is the manual's section of all pages: administration. One for all keeps
// the references between them right, which the generator writes by the page's own.
const section = "8"

// writePages writes the manual page of each command into the directory to.
func writePages(root *cobra.Command, version string, date time.Time, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: section, Date: &date, Source: "xvsock " + version, Manual: "Xen virtual sockets"}
	return doc.GenManTree(root, header, to)
}

// writeCompletions writes the completions of the three shells into the directory
// to, by the names that each shell looks for.
func writeCompletions(root *cobra.Command, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	var bash, zsh, fish bytes.Buffer
	for _, err := range []error{
		root.GenBashCompletionV2(&bash, true), root.GenZshCompletion(&zsh), root.GenFishCompletion(&fish, true),
	} {
		if err != nil {
			return err
		}
	}
	for name, text := range map[string]*bytes.Buffer{"xvsock": &bash, "_xvsock": &zsh, "xvsock.fish": &fish} {
		if err := os.WriteFile(filepath.Join(to, name), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
