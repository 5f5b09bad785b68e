package pid1

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"xvsock/config"
)

// Settings reads what the domain is told, in two steps of the boot: what stands
// on the command line and in the image first, because the log and the modules
// depend on it, and what the toolstack wrote as soon as there is a xenstore. Each
// step resolves all that is known by then, and does what the result says.
type Settings struct {
	// Table is the table of keys.
	Table config.Table
	// Level is the level of the domain's log, which the key log sets.
	Level *slog.LevelVar
	// Use is handed the result of each step with every problem so far. The second
	// replaces the first.
	Use func(config.Config, []config.Problem)

	read []config.Source  // what the first step read, strongest first
	said []config.Problem // what it said
	name string           // the host name that was set
}

// SettingsStep returns the step "settings": the kernel's command line and
// /etc/xvsock.toml. It says every problem on the console and to the toolstack,
// and sets the host name, the level of the log and what Fatal does. Wrong
// settings never fail it. It needs /proc, and /sys to tell how long a command
// line may have been.
func (in *Init) SettingsStep(s *Settings) Step {
	return Step{Name: "settings", Run: func(context.Context) error {
		line, problems, err := in.commandLine()
		if err != nil {
			return err
		}
		file, more := in.settingsFile()
		s.read = []config.Source{line, file}
		c, wrong := s.Table.Resolve(s.read...)
		s.said = slices.Concat(problems, more, wrong)
		in.sayProblems(s.said)
		in.apply(s, c, s.said)
		return nil
	}}
}

// ToolstackStep returns the step "toolstack", which comes after SettingsStep of
// the same settings. It adds what the toolstack wrote: read returns that by key,
// the values of each in their order. What read could get counts even if it
// returns an error too; that is one more problem, unless there is nothing to read.
//
// The step says the problems that are new. It fails only if the domain is told
// to be strict and anything is wrong, whichever source it is in: no earlier than
// here, so that the strongest source was heard and the toolstack learns why.
func (in *Init) ToolstackStep(s *Settings, read func(context.Context) (map[string][]string, error)) Step {
	return Step{Name: "toolstack", Run: func(ctx context.Context) error {
		values, err := read(ctx)
		nodes, fresh := config.Nodes(values)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			fresh = append(fresh, config.Problem{Source: nodes.Name, Reason: err.Error()})
		}
		c, wrong := s.Table.Resolve(append([]config.Source{nodes}, s.read...)...)
		for _, p := range wrong {
			if !slices.Contains(s.said, p) {
				fresh = append(fresh, p)
			}
		}
		in.sayProblems(fresh)
		all := append(fresh, s.said...)
		in.apply(s, c, all)
		if c.Strict && len(all) > 0 {
			return fmt.Errorf("strict: %s", all[0])
		}
		return nil
	}}
}

// commandLine reads the kernel's command line.
func (in *Init) commandLine() (config.Source, []config.Problem, error) {
	f, err := os.Open(in.path("/proc/cmdline"))
	if err != nil {
		return config.Source{}, nil, err
	}
	defer f.Close()
	// Without Xen there is no such file, and the longer limit holds.
	guest, _ := os.ReadFile(in.path("/sys/hypervisor/guest_type"))
	return config.CommandLine(f, string(guest))
}

// settingsFile reads the file in the image. Not to have one is usual; one that
// cannot be read is a problem like any other.
func (in *Init) settingsFile() (config.Source, []config.Problem) {
	source := config.Source{Name: config.FilePath}
	f, err := os.Open(in.path(config.FilePath))
	if err == nil {
		defer f.Close()
		var problems []config.Problem
		if source, problems, err = config.Text(config.FilePath, f); err == nil {
			return source, problems
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return source, nil
	}
	return source, []config.Problem{{Source: source.Name, Reason: err.Error()}}
}

// apply does what the settings say of PID 1 itself, and hands them on.
func (in *Init) apply(s *Settings, c config.Config, problems []config.Problem) {
	s.Level.Set(c.Log)
	in.OnFatal(c.Panic)
	if c.Name != "" && c.Name != s.name {
		s.name = c.Name
		if err := in.o.Kernel.SetHostname(c.Name); err != nil {
			in.say("settings: %v", fmt.Errorf("host name %s: %w", c.Name, err))
		}
	}
	s.Use(c, problems)
}

// maxProblems bounds the lines about settings: the console is slow, and after
// that many the settings are not what they were meant to be.
const maxProblems = 20

// sayProblems says what is wrong on the console and to the toolstack.
func (in *Init) sayProblems(problems []config.Problem) {
	say := func(text string) {
		in.say("settings: %s", text)
		in.report(TellProblem, text)
	}
	for i, p := range problems {
		if i == maxProblems {
			say(fmt.Sprintf("and %d more problems", len(problems)-i))
			return
		}
		say(p.String())
	}
}
