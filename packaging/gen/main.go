// Command gen writes what a package has beside the binary and is made from it: the
// manual pages and the completions, which come from the tree of commands, and the
// licences of what is linked into the binary.
//
//	gen -version VERSION -binary FILE -out DIR
//
// The same inputs give the same bytes. The date in the pages is
// $SOURCE_DATE_EPOCH, in seconds since 1970.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"xvsock/cli"
)

func main() {
	version := flag.String("version", "unreleased", "version that the pages name")
	binary := flag.String("binary", "", "the binary that is packaged")
	out := flag.String("out", "", "directory to write man/, completions/ and licences into")
	flag.Parse()
	if err := generate(*version, *binary, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// generate writes everything.
func generate(version, binary, out string) error {
	if binary == "" || out == "" {
		return errors.New("give -binary and -out")
	}
	date, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	root := cli.Command(version)
	for _, part := range []struct {
		name  string
		write func(to string) error
	}{
		{"man", func(to string) error { return writePages(root, version, date, to) }},
		{"completions", func(to string) error { return writeCompletions(root, to) }},
		{"licences", func(to string) error { return writeLicences(binary, to) }},
	} {
		if err := part.write(filepath.Join(out, part.name)); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// sourceDate reads SOURCE_DATE_EPOCH. Without it the date is the first of all, not
// today's, on which nothing may depend.
func sourceDate(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: %w", epoch, err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
