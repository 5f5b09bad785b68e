package policy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds on what is parsed.
const (
	maxFiles = 4096
	maxFile  = 1 << 20 // bytes of a file
	maxLine  = 1024    // bytes of a line
	maxRules = 4096    // in all files
)

// File is a text with any number of rules.
type File struct{ Name, Text string }

// Error says why a policy is refused.
type Error struct {
	File   string // "" if it is about none in particular
	Line   int    // from 1; 0 if it is about the whole file
	Reason string // what is wrong, and what to write instead
}

// Error returns place and reason. It is safe to print: what it quotes is escaped.
func (e *Error) Error() string {
	switch {
	case e.File == "":
		return "policy: " + e.Reason
	case e.Line == 0:
		return fmt.Sprintf("%s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Parse reads a policy: the rules of the files, in this order. One mistake refuses
// all of it; the error is an *Error. Without rules the set denies everything.
func Parse(files []File) (*Set, error) {
	if len(files) > maxFiles {
		return nil, &Error{Reason: fmt.Sprintf("%d files: at most %d, so join some", len(files), maxFiles)}
	}
	var p parser
	for _, f := range files {
		if err := p.file(f); err != nil {
			return nil, err
		}
	}
	return newSet(p.rules), nil
}

// parser gathers the rules of several files.
type parser struct {
	rules []*Rule
	equal map[string]int // rules seen of one canonical form
}

func (p *parser) file(f File) error {
	if len(f.Text) > maxFile {
		return &Error{File: f.Name, Reason: fmt.Sprintf("%d bytes: at most %d in a file, so make it two", len(f.Text), maxFile)}
	}
	number := 0
	for line := range strings.SplitSeq(f.Text, "\n") {
		number++
		r, err := parseLine(line)
		if err == nil && r != nil && len(p.rules) >= maxRules {
			err = fmt.Errorf("more than %d rules: use patterns and tags instead of single domains", maxRules)
		}
		if err != nil {
			return &Error{File: f.Name, Line: number, Reason: err.Error()}
		}
		if r != nil {
			r.File, r.Line = f.Name, number
			p.add(r)
		}
	}
	return nil
}

// add appends a rule and names it.
func (p *parser) add(r *Rule) {
	if p.equal == nil {
		p.equal = make(map[string]int)
	}
	canonical := r.String()
	r.ID = ruleID(canonical, p.equal[canonical])
	p.equal[canonical]++
	p.rules = append(p.rules, r)
}

// parseLine reads one line. It returns nil if no rule is on it.
func parseLine(line string) (*Rule, error) {
	if len(line) > maxLine {
		return nil, fmt.Errorf("%d bytes in the line: at most %d, so make it two rules", len(line), maxLine)
	}
	if err := checkText(line); err != nil {
		return nil, err
	}
	text, _, _ := strings.Cut(line, "#")
	text = strings.Trim(text, " \t")
	if text == "" {
		return nil, nil
	}
	return parseRule(text)
}

// checkText refuses what could make a line look like another than it is.
func checkText(line string) error {
	if strings.HasSuffix(line, "\r") {
		return fmt.Errorf("the line ends with a carriage return: save the file with Unix line ends")
	}
	if !utf8.ValidString(line) {
		return fmt.Errorf("the line is not UTF-8: save the file as UTF-8")
	}
	for at, c := range line {
		if c != '\t' && !unicode.IsPrint(c) {
			return fmt.Errorf("character %U at byte %d of the line cannot be seen: remove it", c, at+1)
		}
	}
	return nil
}

// parseRule reads a rule, without comment.
func parseRule(text string) (*Rule, error) {
	fields := strings.Fields(text)
	if len(fields) < 4 {
		return nil, fmt.Errorf("%.60q has %d of the 4 fields: ports source destination allow|deny", text, len(fields))
	}
	r := &Rule{Text: text}
	var err error
	if r.ports, err = parsePorts(fields[0]); err != nil {
		return nil, err
	}
	if r.source, err = parsePattern(fields[1]); err != nil {
		return nil, fmt.Errorf("bad source %w", err)
	}
	if r.destination, err = parsePattern(fields[2]); err != nil {
		return nil, fmt.Errorf("bad destination %w", err)
	}
	switch fields[3] {
	case "allow":
		r.Allow = true
	case "deny":
	default:
		return nil, fmt.Errorf("bad action %.40q: it is allow or deny", fields[3])
	}
	return r, r.parseParams(fields[4:])
}
