package pid1

import (
	"context"
	"fmt"
	"log/slog"
	"os"
)

// MemoryStep returns the step "memory", which fits the Go runtime to the memory
// of the domain (TuneMemory). It needs /proc.
func (in *Init) MemoryStep() Step {
	return Step{Name: "memory", Optional: true, Run: func(context.Context) error {
		f, err := os.Open(in.path("/proc/meminfo"))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = TuneMemory(f)
		return err
	}}
}

// SettingsStep returns the step "settings": it reads the kernel command line by
// the table, says every problem on the console, sets the host name, the level
// of the log and what Fatal does, and hands the configuration to use. Wrong
// settings never fail it. It needs /proc, and /sys to tell how long a command
// line may have been.
func (in *Init) SettingsStep(t Table, log *slog.LevelVar, use func(Config)) Step {
	return Step{Name: "settings", Run: func(context.Context) error {
		f, err := os.Open(in.path("/proc/cmdline"))
		if err != nil {
			return err
		}
		defer f.Close()
		// Without Xen there is no such file, and the longer limit holds.
		guest, _ := os.ReadFile(in.path("/sys/hypervisor/guest_type"))
		source, problems, err := CommandLine(f, string(guest))
		if err != nil {
			return err
		}
		config, more := t.Resolve(source)
		in.sayProblems(append(problems, more...))
		log.Set(config.Log)
		in.OnFatal(config.Panic)
		if config.Name != "" {
			if err := in.o.Kernel.SetHostname(config.Name); err != nil {
				in.say("settings: %v", fmt.Errorf("host name %s: %w", config.Name, err))
			}
		}
		use(config)
		return nil
	}}
}

// maxProblems bounds the lines about settings: the console is slow, and after
// that many the command line is not what it was meant to be.
const maxProblems = 20

func (in *Init) sayProblems(problems []Problem) {
	for i, p := range problems {
		if i == maxProblems {
			in.say("settings: and %d more problems", len(problems)-i)
			return
		}
		in.say("settings: %s", p)
	}
}
