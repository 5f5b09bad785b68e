package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	is, err := serveChild()
	if !is {
		err = run(os.Args[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "native:", err)
		os.Exit(1)
	}
}

// run measures all cases, or the one that is asked for, prints them, and adds them to
// a file.
func run(args []string) error {
	flags := flag.NewFlagSet("native", flag.ContinueOnError)
	rounds := flags.Int("pairs", 7, "rounds, in each of which each contestant has its turn; 5 at least")
	turn := flags.Duration("time", 300*time.Millisecond, "how long a turn is, about")
	only := flags.String("case", "", "only the case of this name")
	pgo := flags.String("profile", "", "measure nothing: write to this file where our own links spend their time")
	file := flags.String("json", filepath.Join("..", "..", "build", "bench-native.json"), "the list to add the results to; empty: none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 5 || *turn <= 0 {
		return fmt.Errorf("%d rounds of %v: at least 5 rounds, of some length", *rounds, *turn)
	}
	if *pgo != "" {
		return profile(*pgo, *rounds, *turn)
	}
	var all []result
	for _, c := range cases() {
		if *only != "" && *only != c.name {
			continue
		}
		taken, err := c.measure(contestants(), *rounds, *turn)
		if err != nil {
			return err
		}
		if err := c.write(os.Stdout, taken); err != nil {
			return err
		}
		all = append(all, c.compare(taken)...)
	}
	if len(all) == 0 {
		return fmt.Errorf("there is no case %q", *only)
	}
	if *file == "" {
		return nil
	}
	return add(*file, all)
}
