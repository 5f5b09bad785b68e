package image

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"xvsock/config"
)

// tomlPath is config.FilePath in an image.
var tomlPath = strings.TrimPrefix(config.FilePath, "/")

// SettingsError says what is wrong with the settings for an image.
type SettingsError struct {
	// Problems are all there are, each naming the file, or --set.
	Problems []config.Problem
}

// Error gives all problems on one line.
func (e *SettingsError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "settings: " + strings.Join(lines, "; ")
}

// addSettings puts the settings into the archive and gives what they come to.
// Without --set the file goes in as it is; with it, it is written anew, so that
// what was in the file stays, keys that may repeat get more values, and the others
// the new one.
func addSettings(a *Archive, o Options) (config.Config, error) {
	none, _ := o.Settings.Resolve()
	if o.ConfigFile == "" && len(o.Set) == 0 {
		return none, nil
	}
	file, text, err := o.readSettings()
	if err != nil {
		return none, err
	}
	merged := o.merge(file, o.setSource())
	c, problems := o.Settings.Resolve(merged)
	if len(problems) > 0 {
		return none, &SettingsError{problems}
	}
	if len(o.Set) > 0 {
		if text, err = formatSettings(merged, o.Settings); err != nil {
			return none, err
		}
	}
	a.File(tomlPath, text, 0o644)
	return c, nil
}

// readSettings reads the file, and checks it and the settings beside it each by
// itself, so that a problem names the place it is from.
func (o Options) readSettings() (file config.Source, text []byte, err error) {
	var problems []config.Problem
	if o.ConfigFile != "" {
		if text, err = readFile(o.ConfigFile); err != nil {
			return file, nil, fmt.Errorf("read settings: %w", err)
		}
		if file, problems, err = config.Text(o.ConfigFile, bytes.NewReader(text)); err != nil {
			return file, nil, err
		}
		_, more := o.Settings.Resolve(file)
		problems = append(problems, more...)
	}
	_, more := o.Settings.Resolve(o.setSource())
	if problems = append(problems, more...); len(problems) > 0 {
		return file, nil, &SettingsError{problems}
	}
	return file, text, nil
}

// setSource is what was given as KEY=VALUE. The prefix that keys have on a
// command line may be there.
func (o Options) setSource() config.Source {
	source := config.Source{Name: "--set"}
	for _, text := range o.Set {
		key, value, _ := strings.Cut(text, "=")
		source.Settings = append(source.Settings, config.Setting{Key: strings.TrimPrefix(key, config.Prefix), Value: value})
	}
	return source
}

// merge gives the settings of both, those of set stronger.
func (o Options) merge(file, set config.Source) config.Source {
	merged := config.Source{Name: config.FilePath}
	for _, s := range file.Settings {
		covered := slices.ContainsFunc(set.Settings, func(other config.Setting) bool { return other.Key == s.Key })
		if !covered || repeats(o.Settings, s.Key) {
			merged.Settings = append(merged.Settings, config.Setting{Key: s.Key, Value: s.Value})
		}
	}
	merged.Settings = append(merged.Settings, set.Settings...)
	return merged
}

func repeats(t config.Table, key string) bool {
	return slices.ContainsFunc(t.Keys(), func(k config.Key) bool { return k.Name == key && k.Repeat })
}

// formatSettings writes settings as config.File reads them. The encoder sorts
// the keys.
func formatSettings(source config.Source, t config.Table) ([]byte, error) {
	values := make(map[string]any)
	for _, s := range source.Settings {
		if !repeats(t, s.Key) {
			values[s.Key] = s.Value
			continue
		}
		list, _ := values[s.Key].([]string)
		values[s.Key] = append(list, s.Value)
	}
	text, err := toml.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("write settings: %w", err)
	}
	return text, nil
}
