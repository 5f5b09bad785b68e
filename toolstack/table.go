package toolstack

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"xvsock/xen"
)

// TablePath is where the toolstack's table of domains is.
const TablePath = "/etc/xvsock/domains.toml"

const (
	maxTable   = 1 << 20 // bytes of the file
	maxEntries = 4096    // domains in it
)

// Table is the toolstack's table of domains: their tags, and what they are told.
// A nil Table is empty. It is not changed after it was read.
type Table struct{ entries []row }

// row is one domain of a Table.
type row struct {
	Tagged
	config map[string][]string // nil: it is told nothing
}

// Tagged is a domain and its tags.
type Tagged struct {
	Domain
	Tags []string
}

// ReadDefaultTable reads the table at TablePath. It is empty if there is none.
func ReadDefaultTable() (*Table, error) {
	t, err := ReadTable(TablePath)
	if errors.Is(err, fs.ErrNotExist) {
		return new(Table), nil
	}
	return t, err
}

// ReadTable reads a table, a TOML file of
//
//	[[domain]]
//	name = "web"                                  # a name or a uuid, or both
//	uuid = "11111111-2222-4333-8444-aaaaaaaaaaaa"
//	id = 3                                        # only for Domains
//	tags = ["edge", "web"]
//	[domain.config]                               # what it is told; see SetConfig
//	log = "debug"
//	service = ["echo", "kv:7000:exec:/bin/kv"]
//
// What a domain is told has the form of CheckConfig; whether the domain knows the
// keys is not looked at.
//
// The error wraps fs.ErrNotExist if there is no such file. An error in the file
// is a *TableError; nothing of such a file is taken.
func ReadTable(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("table of domains: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTable+1))
	if err != nil {
		return nil, fmt.Errorf("table of domains: %w", err)
	}
	return parseTable(path, string(text))
}

// Tags returns the tags of d: those of the entry with d's uuid, or else of the
// entry without a uuid that has d's name. The id of an entry does not count, for
// ids are used again.
func (t *Table) Tags(d Domain) []string { return slices.Clone(t.find(d).Tags) }

// Config returns what d is told by the entry that Tags takes: the values of each
// key. It is nil if d is told nothing; an empty table config is something, and
// clears what d was told before.
func (t *Table) Config(d Domain) map[string][]string {
	config := maps.Clone(t.find(d).config)
	for key, values := range config {
		config[key] = slices.Clone(values)
	}
	return config
}

// find returns the row of d, or an empty one.
func (t *Table) find(d Domain) row {
	if t == nil {
		return row{}
	}
	byUUID := func(e row) bool { return e.UUID != "" && e.UUID == d.UUID }
	byName := func(e row) bool { return e.UUID == "" && e.Name == d.Name }
	i := slices.IndexFunc(t.entries, byUUID)
	if i < 0 {
		i = slices.IndexFunc(t.entries, byName)
	}
	if i < 0 {
		return row{}
	}
	return t.entries[i]
}

// Domains returns the domains of the table as if they ran, in the order of the
// file, to ask of a policy what it would do with them. A domain without an id
// gets one that no other has, from the highest down, so that it is not taken for
// one of those that people write.
func (t *Table) Domains() []Tagged {
	if t == nil {
		return nil
	}
	var all []Tagged
	taken := make(map[xen.DomID]bool, len(t.entries))
	for _, e := range t.entries {
		all = append(all, e.Tagged)
		taken[e.ID] = true
	}
	next := xen.DomIDFirstReserved - 1
	for i := range all {
		all[i].Tags = slices.Clone(all[i].Tags)
		if all[i].ID != noID {
			continue
		}
		for taken[next] {
			next--
		}
		all[i].ID = next
		next--
	}
	return all
}

// Distinct returns d as a table may be asked for it: without its name, if
// another of all is called the same. Who bears a name twice is neither of them,
// and only a uuid finds its tags.
func Distinct(all []Domain, d Domain) Domain {
	for _, other := range all {
		if other.ID != d.ID && other.Name == d.Name {
			d.Name = ""
		}
	}
	return d
}

// UniteTags returns the tags of both lists, each once.
func UniteTags(a, b []string) []string {
	var all []string
	for _, t := range slices.Concat(a, b) {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}
