package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"xvsock/image/rig/wire"
)

func readPlan() (wire.Plan, error) {
	data, err := os.ReadFile(wire.PlanFile)
	if err != nil {
		return wire.Plan{}, err
	}
	var plan wire.Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return wire.Plan{}, fmt.Errorf("read %s: %w", wire.PlanFile, err)
	}
	return plan, nil
}

// loadModules loads the files in order. One that is loaded already is fine.
func loadModules(files []string) error {
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("load module: %w", err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", file, err)
		}
	}
	return nil
}

// setUp makes dom0 what the plan says, with the control port open already. It
// calls step with what it does next, so that a hang has a name.
func setUp(plan wire.Plan, step func(string)) error {
	step("loading modules")
	if err := loadModules(plan.Modules); err != nil {
		return err
	}
	if err := unix.Mount("xenfs", "/proc/xen", "xenfs", 0, ""); err != nil {
		return fmt.Errorf("mount xenfs: %w", err)
	}
	for _, dir := range plan.Dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, args := range plan.Setup {
		step("running " + strings.Join(args, " "))
		var output bytes.Buffer
		cmd := exec.Command(args[0], args[1:]...)
		cmd.WaitDelay = orphanDelay
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			return fmt.Errorf("run %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output.Bytes()))
		}
	}
	return nil
}

// uptime gives the seconds since dom0's kernel started.
func uptime() float64 {
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(data), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return seconds
}
