package toolstack

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"xvsock/xen"
	"xvsock/xen/naming"
)

// noID is the ID of an entry that has none.
const noID = xen.DomIDFirstReserved

// maxName is the most bytes of a domain's name in a table.
const maxName = 256

// TableError says what is wrong with a table of domains, and where.
type TableError struct {
	File   string
	Line   int // from 1
	Reason string
}

// Error implements error.
func (e *TableError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason) }

// section is a part of the file: the lines of one [[domain]], or those before the
// first. Each is parsed alone, for in an array of tables the parser does not tell
// which of them an error is in.
type section struct {
	file  string
	first int // its first line, from 1
	lines []string
}

// at is an error in the line that sets key, or is the header of the table key, or
// else in the section's first.
func (s section) at(key, format string, args ...any) error {
	line := s.first
	for i, text := range s.lines {
		if rest, ok := strings.CutPrefix(strings.TrimLeft(text, " \t["), key); ok && strings.IndexAny(strings.TrimSpace(rest), "=]") == 0 {
			line += i
			break
		}
	}
	return &TableError{s.file, line, fmt.Sprintf(format, args...)}
}

// parseTable reads the text of a file.
func parseTable(file, text string) (*Table, error) {
	if len(text) > maxTable {
		return nil, &TableError{file, 1, fmt.Sprintf("more than %d bytes", maxTable)}
	}
	t := new(Table)
	for i, s := range split(file, text) {
		e, err := s.parse()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			continue // before the first [[domain]], and empty
		}
		if len(t.entries) == maxEntries {
			return nil, s.at("", "more than %d domains", maxEntries)
		}
		t.entries = append(t.entries, e)
		if err := t.checkLast(s); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// split cuts the text before every line that begins a table of an array. Such a
// line inside a longer value cuts the value, which then does not parse.
func split(file, text string) []section {
	all := []section{{file: file, first: 1}}
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "[[") {
			all = append(all, section{file: file, first: i + 1})
		}
		last := &all[len(all)-1]
		last.lines = append(last.lines, line)
	}
	return all
}

// entry is a [[domain]] as it stands in the file.
type entry struct {
	Name *string  `toml:"name"`
	UUID *string  `toml:"uuid"`
	ID   *uint16  `toml:"id"`
	Tags []string `toml:"tags"`

	Config map[string]any `toml:"config"`
}

// parse reads one section. Keys are checked here and not by the parser, which
// would take any case.
func (s section) parse() (row, error) {
	var v struct {
		Domain []entry `toml:"domain"`
	}
	meta, err := toml.Decode(strings.Join(s.lines, "\n"), &v)
	// A key that is none comes before what is wrong with its value.
	for _, key := range meta.Keys() {
		if err := s.checkKey(key, meta.Type(key...)); err != nil {
			return row{}, err
		}
	}
	if err != nil {
		return row{}, s.syntax(err)
	}
	if s.isHeader() && len(v.Domain) == 1 {
		d, err := s.check(v.Domain[0])
		if err != nil {
			return row{}, err
		}
		config, err := s.config(v.Domain[0].Config)
		return row{d, config}, err
	}
	if len(meta.Keys()) > 0 {
		return row{}, s.headless("domain")
	}
	return row{}, nil
}

// headless is the error that key stands where [[domain]] should.
func (s section) headless(key string) error {
	return s.at(key, "begin each domain with a line [[domain]]")
}

// checkKey checks that a key may be there, with a value of that type.
func (s section) checkKey(key toml.Key, kind string) error {
	if len(key) > 2 && key[0] == "domain" && key[1] == "config" {
		return s.checkConfigKey(key[2:], kind)
	}
	kinds := map[string]string{"name": "String", "uuid": "String", "id": "Integer", "tags": "Array", "config": "Hash"}
	last := key[len(key)-1]
	want, known := kinds[last]
	header, isTable := key[0] == "domain" && len(key) == 1, kind == "Hash" || kind == "ArrayHash"
	switch {
	case header && kind == "ArrayHash":
		return nil
	case header || isTable && len(key) == 1:
		return s.headless(last)
	case key[0] != "domain" || len(key) != 2 || !known:
		return s.at(last, "unknown key %.64q", last)
	case last == "config" && kind != want:
		return s.at(last, "config is no table: write [domain.config]")
	case kind != want:
		return s.at(last, "%s is no %s", last, strings.ToLower(want))
	}
	return nil
}

// isHeader reports whether the section begins with a line [[...]].
func (s section) isHeader() bool {
	return len(s.lines) > 0 && strings.HasPrefix(strings.TrimSpace(s.lines[0]), "[[")
}

// syntax is an error of the parser, with the line in the file.
func (s section) syntax(err error) error {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return s.at("tags", "tags are strings: %v", err)
	}
	return &TableError{s.file, s.first + max(parse.Position.Line, 1) - 1, parse.Message}
}

// check returns what an entry says, if it makes sense by itself.
func (s section) check(e entry) (Tagged, error) {
	d := Tagged{Domain: Domain{ID: noID}, Tags: UniteTags(e.Tags, nil)}
	if e.Name != nil {
		if d.Name = *e.Name; d.Name == "" || len(d.Name) > maxName {
			return d, s.at("name", "a name has 1 to %d bytes", maxName)
		}
	}
	if e.UUID != nil {
		if d.UUID = strings.ToLower(*e.UUID); !naming.IsUUID(d.UUID) {
			return d, s.at("uuid", "%.64q is no uuid", *e.UUID)
		}
	}
	if e.ID != nil {
		if d.ID = xen.DomID(*e.ID); !d.ID.Valid() {
			return d, s.at("id", "%v is no id of a domain", *e.ID)
		}
	}
	if e.Name == nil && e.UUID == nil {
		return d, s.at("", "this domain has neither a name nor a uuid")
	}
	if err := CheckTags(d.Tags); err != nil {
		return d, s.at("tags", "%v", err)
	}
	return d, nil
}

// checkLast checks the last entry, of section s, against those before it: each
// domain stands there once. Two may have one name if both have a uuid.
func (t *Table) checkLast(s section) error {
	before, e := t.entries[:len(t.entries)-1], t.entries[len(t.entries)-1]
	for _, other := range before {
		switch {
		case e.UUID != "" && e.UUID == other.UUID:
			return s.at("uuid", "uuid %s stands there twice", e.UUID)
		case e.ID != noID && e.ID == other.ID:
			return s.at("id", "id %v stands there twice", e.ID)
		case e.Name != "" && e.Name == other.Name && (e.UUID == "" || other.UUID == ""):
			return s.at("name", "name %q stands there twice, and not each time with a uuid", e.Name)
		}
	}
	return nil
}
