package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"time"
)

// profile has our own links that poll carry all cases, and writes to a file where that
// spends its time: the compiler takes it for which calls to inline.
func profile(file string, rounds int, turn time.Duration) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	for _, c := range cases() {
		if _, err := c.measure(polling(), rounds, turn); err != nil {
			return err
		}
	}
	return nil
}

// polling are our contestants between two domains that poll.
func polling() (all []contestant) {
	for _, c := range links() {
		if !c.sleeps && c.mode != "loop" {
			all = append(all, c)
		}
	}
	return all
}
