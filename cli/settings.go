package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"xvsock/config"
	"xvsock/daemon"
	"xvsock/link"
	"xvsock/toolstack"
)

// table is the table of settings of this binary.
func (a *app) table() config.Table { return config.Settings(daemon.Known(a.offers)) }

// settings is what a daemon was told.
type settings struct {
	config.Config
	problems []config.Problem
}

// flagSettings are the flags of c that are keys of the table, as a source. What is
// wrong with one is an error: who gave it is still there.
func (a *app) flagSettings(c *cobra.Command) (config.Source, error) {
	source := config.Source{Name: "command line", Prefix: "--"}
	known := make(map[string]bool)
	for _, key := range a.table().Keys() {
		known[key.Name] = true
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		if !known[f.Name] {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			if path, err := filepath.Abs(value); f.Name == "policy" && value != daemon.PolicyInStore && err == nil {
				value = path
			}
			source.Settings = append(source.Settings, config.Setting{Key: source.Prefix + f.Name, Value: value})
		}
	})
	if _, problems := a.table().Resolve(source); len(problems) > 0 {
		return source, &setupError{errors.New(problems[0].String())}
	}
	return source, nil
}

// readSettings makes what a daemon in dom is told: by the toolstack, which is
// strongest, by its flags, and by a file, of which only the one that was named has to
// be there. What is wrong is logged, and in a strict daemon an error.
func (a *app) readSettings(ctx context.Context, dom *link.Domain, flags config.Source, file string, named bool, log *slog.Logger) (settings, error) {
	var s settings
	values, err := toolstack.ReadOwnConfig(ctx, dom.Store)
	nodes, problems := config.Nodes(values)
	s.problems = append(s.problems, problems...)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.problems = append(s.problems, config.Problem{Source: nodes.Name, Reason: err.Error()})
	}
	text, problems, err := config.File(file)
	if err != nil && (named || !errors.Is(err, fs.ErrNotExist)) {
		return s, &setupError{fmt.Errorf("--config: %w", err)}
	}
	s.problems = append(s.problems, problems...)
	s.Config, problems = a.table().Resolve(nodes, flags, text)
	s.problems = append(s.problems, problems...)
	for _, p := range s.problems {
		if s.Strict {
			return s, &setupError{fmt.Errorf("strict: %s", p)}
		}
		log.Warn("settings", "problem", p.String())
	}
	return s, nil
}
