// Command printinit is the PID 1 that the boot benchmark compares a service domain
// with: it loads the modules that the file /modules names, one path a line, prints a
// line, and does nothing else for ever.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if err := load("/modules"); err != nil {
		fmt.Printf("printinit: %v\n", err)
	}
	fmt.Println("printinit: ready")
	// Wait for a signal that never comes: the runtime would call a bare
	// select a deadlock.
	never := make(chan os.Signal, 1)
	signal.Notify(never, unix.SIGUSR1)
	<-never
}

// load loads modules in the order of the list.
func load(list string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for path := range strings.FieldsSeq(string(text)) {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = errors.Join(unix.FinitModule(int(f.Fd()), "", 0), f.Close())
		if err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}
