package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// FilePath is where the file with settings is.
const FilePath = "/etc/xvsock.toml"

// maxFile bounds what is read as such a file, in bytes. What is nested costs the
// parser the square of its length, seconds at this one.
const maxFile = 32 << 10

// File is the source at path, a TOML file with the keys of the table at its top:
//
//	mode = "backend"
//	service = ["echo", "kv:7000:exec:/bin/kv"]
//	budget = ["links=16"]
//	strict = true
//
// A value is a string, a whole number or a boolean; one that may repeat is also
// an array of them. The error is that of opening or reading the file; it wraps
// fs.ErrNotExist if there is none. Of a file that is no TOML nothing is taken.
func File(path string) (Source, []Problem, error) {
	f, err := os.Open(path)
	if err != nil {
		return Source{Name: path}, nil, fmt.Errorf("settings: %w", err)
	}
	defer f.Close()
	return Text(path, f)
}

// Text is File of a text that is known by a name. The error is the reader's.
func Text(name string, r io.Reader) (Source, []Problem, error) {
	source := Source{Name: name}
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return source, nil, fmt.Errorf("read %s: %w", name, err)
	}
	const nothing = "nothing of it is taken"
	if len(text) > maxFile {
		return source, []Problem{{Source: name, Reason: fmt.Sprintf("more than %d bytes", maxFile), Fix: nothing}}, nil
	}
	values := map[string]any{}
	meta, err := toml.Decode(string(text), &values)
	if err != nil {
		line, reason := 0, err.Error()
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			line, reason = max(parse.Position.Line, 1), parse.Message
		}
		return source, []Problem{{Source: source.at(line), Reason: reason, Fix: nothing}}, nil
	}
	var problems []Problem
	seen := map[string]bool{}
	for _, path := range meta.Keys() {
		key := path[0] // of what is below a table: the table, which is wrong as a whole
		if seen[key] {
			continue
		}
		seen[key] = true
		line := lineOf(string(text), key)
		for _, v := range listOf(values[key]) {
			if value, ok := spell(v); ok {
				source.Settings = append(source.Settings, Setting{Key: key, Value: value, Line: line})
				continue
			}
			problems = append(problems, Problem{
				Source: source.at(line), Key: key, Value: sketch(v),
				Reason: "a value is a string, a whole number, a boolean, or an array of them",
			})
		}
	}
	return source, problems, nil
}

// listOf returns the elements of an array, or the value that is none. An empty
// array gives nothing.
func listOf(value any) []any {
	if list, ok := value.([]any); ok {
		return list
	}
	return []any{value}
}

// spell returns a value of TOML as the other sources would give it.
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

// sketch shows a value that has no spelling.
func sketch(value any) string {
	switch value.(type) {
	case []any:
		return "[...]"
	case map[string]any, []map[string]any:
		return "{...}"
	}
	return fmt.Sprint(value)
}

// lineOf returns the line in which text sets key, from 1; 0 if it is spelt in a
// way that is not found. The parser does not tell.
func lineOf(text, key string) int {
	n := 0
	for line := range strings.Lines(text) {
		n++
		rest, ok := strings.CutPrefix(strings.TrimLeft(line, " \t[\"'"), key)
		if ok && strings.IndexAny(strings.TrimLeft(rest, " \t\"'"), "=].") == 0 {
			return n
		}
	}
	return 0
}
