package toolstack

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// atConfig is an error in the line that sets a key of the table config, below its
// header, or as config.KEY, or within config = {...}.
func (s section) atConfig(key, format string, args ...any) error {
	for i, line := range s.lines {
		switch text := strings.ReplaceAll(line, " ", ""); {
		case strings.HasPrefix(text, "[domain.config]"):
			s.first, s.lines = s.first+i, s.lines[i:]
			return s.at(key, format, args...)
		case strings.HasPrefix(text, "config."+key), strings.HasPrefix(text, "config="):
			s.first, s.lines = s.first+i, nil
			return s.at(key, format, args...)
		}
	}
	return s.at(key, format, args...)
}

// checkConfigKey checks a key below the table config, which has only values.
func (s section) checkConfigKey(key toml.Key, kind string) error {
	switch {
	case !isConfigKey(key[0]):
		return s.atConfig(key[0], "key %.64q: use a-z, 0-9 and -", key[0])
	case len(key) > 1, !slices.Contains([]string{"String", "Integer", "Bool", "Array"}, kind):
		return s.atConfig(key[0], "%s is no string, whole number or boolean, and no array of them", key[0])
	}
	return nil
}

// config returns what an entry tells its domain, as SetConfig takes it; nil if
// there is no table config.
func (s section) config(table map[string]any) (map[string][]string, error) {
	if table == nil {
		return nil, nil
	}
	values := make(map[string][]string, len(table))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		list, isList := table[key].([]any)
		if !isList {
			list = []any{table[key]}
		}
		for _, v := range list {
			text, ok := spell(v)
			if !ok {
				return nil, s.atConfig(key, "a value of %s is no string, whole number or boolean", key)
			}
			values[key] = append(values[key], text)
		}
		if err := CheckConfig(values); err != nil {
			return nil, s.atConfig(key, "%v", err)
		}
	}
	return values, nil
}

// spell returns a value of TOML as it stands in xenstore.
func spell(value any) (text string, ok bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
