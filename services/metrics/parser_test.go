package metrics_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// exposition is a text as a reader of the format sees it, by the rules of
// https://prometheus.io/docs/instrumenting/exposition_formats/, and nothing of the
// writer under test.
type exposition struct {
	order   []string                      // families
	help    map[string]string             // by family
	kind    map[string]string             // by family
	samples map[string]map[string]float64 // by family and labels, as name=value pairs with %q
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*`)
)

// read parses a text, and returns an error for what breaks the rules or leaves the
// behaviour of a reader undefined.
func read(text string) (*exposition, error) {
	e := &exposition{help: map[string]string{}, kind: map[string]string{}, samples: map[string]map[string]float64{}}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("not UTF-8")
	}
	body, ended := strings.CutSuffix(text, "\n")
	if !ended {
		return nil, fmt.Errorf("the last line has no end")
	}
	for i, line := range strings.Split(body, "\n") {
		var err error
		if comment, is := strings.CutPrefix(line, "# "); is {
			err = e.comment(comment)
		} else {
			err = e.sample(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", i+1, line, err)
		}
	}
	return e, nil
}

// enter begins a family, or goes on with the one that the text is at.
func (e *exposition) enter(name string) error {
	if n := len(e.order); n > 0 && e.order[n-1] == name {
		return nil
	}
	for _, old := range e.order {
		if old == name {
			return fmt.Errorf("group of %s is interrupted", name)
		}
	}
	e.order = append(e.order, name)
	e.samples[name] = map[string]float64{}
	return nil
}

func (e *exposition) comment(text string) error {
	token, rest, _ := strings.Cut(text, " ")
	name, rest, _ := strings.Cut(rest, " ")
	if metricName.FindString(name) != name || name == "" {
		return fmt.Errorf("bad name")
	}
	if err := e.enter(name); err != nil {
		return err
	}
	if len(e.samples[name]) > 0 {
		return fmt.Errorf("%s behind samples", token)
	}
	into := e.help
	switch token {
	case "TYPE":
		into = e.kind
		if rest != "counter" && rest != "gauge" {
			return fmt.Errorf("type %q", rest)
		}
	case "HELP":
		var err error
		if rest, err = unescape(rest, "\\n"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("comment")
	}
	if _, there := into[name]; there {
		return fmt.Errorf("second %s", token)
	}
	into[name] = rest
	return nil
}

func (e *exposition) sample(line string) error {
	name := metricName.FindString(line)
	if name == "" {
		return fmt.Errorf("no name")
	}
	if err := e.enter(name); err != nil {
		return err
	}
	if e.kind[name] == "" || e.help[name] == "" {
		return fmt.Errorf("no type or no help")
	}
	rest, labels := line[len(name):], ""
	if inside, is := strings.CutPrefix(rest, "{"); is {
		var err error
		if labels, rest, err = pairs(inside); err != nil {
			return err
		}
	}
	number, is := strings.CutPrefix(rest, " ")
	if !is || strings.ContainsAny(number, " \t") {
		return fmt.Errorf("blanks")
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return err
	}
	if _, there := e.samples[name][labels]; there {
		return fmt.Errorf("sample given twice")
	}
	e.samples[name][labels] = value
	return nil
}

// pairs reads labels up to their closing brace.
func pairs(text string) (labels, rest string, err error) {
	seen := map[string]bool{}
	for {
		name := labelName.FindString(text)
		if name == "" || seen[name] || strings.HasPrefix(name, "__") {
			return "", "", fmt.Errorf("label %q", name)
		}
		seen[name] = true
		value, is := strings.CutPrefix(text[len(name):], `="`)
		if !is {
			return "", "", fmt.Errorf("no value")
		}
		end := 0
		for ; end < len(value) && value[end] != '"'; end++ {
			if value[end] == '\\' {
				end++
			}
		}
		if end >= len(value) {
			return "", "", fmt.Errorf("no end of a value")
		}
		plain, err := unescape(value[:end], "\\\"n")
		if err != nil {
			return "", "", err
		}
		labels += fmt.Sprintf("%s=%q ", name, plain)
		text = value[end+1:]
		switch {
		case strings.HasPrefix(text, "}"):
			return labels, text[1:], nil
		case !strings.HasPrefix(text, ","):
			return "", "", fmt.Errorf("no comma")
		}
		text = text[1:]
	}
}

// unescape undoes backslashes before the bytes that may follow one.
func unescape(s, may string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) || !strings.Contains(may, s[i:i+1]) {
			return "", fmt.Errorf("bad escape")
		}
		if s[i] == 'n' {
			b.WriteByte('\n')
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}
