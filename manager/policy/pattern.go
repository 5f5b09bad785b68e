package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"xvsock/xen/naming"
)

// kind is what a pattern looks at.
type kind uint8

const (
	everyDomain kind = iota
	byName
	byUUID
	byTag
	theBackend
	domainZero
)

// pattern says which domains a rule is about. Equal patterns match the same.
type pattern struct {
	kind kind
	text string // of byName: a glob; byUUID: in lower case; byTag: the tag
}

// String returns the pattern as a rule spells it.
func (p pattern) String() string {
	switch p.kind {
	case byName:
		return p.text
	case byUUID:
		return "uuid:" + p.text
	case byTag:
		return "@tag:" + p.text
	case theBackend:
		return "@backend"
	case domainZero:
		return "@dom0"
	}
	return "*"
}

// matches reports whether the pattern matches d.
func (p pattern) matches(d *Domain) bool {
	switch p.kind {
	case everyDomain:
		return true
	case byName:
		// A name that two domains carry says nothing about either of them.
		return d.Name != "" && !d.Twin && naming.Match(p.text, d.Name)
	case byUUID:
		return !d.TwinUUID && strings.EqualFold(p.text, d.UUID) // as with a name
	case byTag:
		return slices.Contains(d.Tags, p.text)
	case theBackend:
		return d.Backend
	case domainZero:
		return d.ID == 0
	}
	return false
}

var (
	errList    = errors.New("it is one pattern, not a list, so write a rule for each, or use a tag")
	errAt      = errors.New("with @ there are @backend, @dom0 and @tag:TAG")
	errTag     = errors.New("a tag is 1 to 32 of A-Z a-z 0-9 . _ -")
	errUUID    = errors.New("a uuid is written whole, as 8-4-4-4-12 hexadecimal digits")
	errNil     = errors.New("this uuid is nobody's, so for domain 0 write @dom0")
	errStars   = errors.New("write * for every domain, ?* for every domain with a name of its own")
	errForeign = errors.New("a name has only * and ? as wildcards, so write ? for any of " + foreign)
)

// foreign are characters that mean something in other rule languages. A rule that
// holds one would not do what its author thinks, and a deny would fail open.
const foreign = `[ ] { } ( ) < > | & ! ^ ~ = : ; \ " ' @`

// parsePattern reads a source or destination.
func parsePattern(field string) (pattern, error) {
	p, err := readPattern(field)
	if err != nil {
		return p, fmt.Errorf("%.60q: %w", field, err)
	}
	return p, nil
}

func readPattern(field string) (pattern, error) {
	switch field {
	case "*":
		return pattern{kind: everyDomain}, nil
	case "@backend":
		return pattern{kind: theBackend}, nil
	case "@dom0":
		return pattern{kind: domainZero}, nil
	}
	tag, isTag := strings.CutPrefix(field, "@tag:")
	id, isUUID := strings.CutPrefix(field, "uuid:")
	switch {
	case strings.Contains(field, ","):
		return pattern{}, errList
	case isTag && !naming.IsTag(tag):
		return pattern{}, errTag
	case isTag:
		return pattern{kind: byTag, text: tag}, nil
	case isUUID && !naming.IsUUID(id):
		return pattern{}, errUUID
	case isUUID && strings.Trim(id, "0-") == "":
		return pattern{}, errNil
	case isUUID:
		return pattern{kind: byUUID, text: strings.ToLower(id)}, nil
	case strings.HasPrefix(field, "@"):
		return pattern{}, errAt
	case strings.Trim(field, "*") == "":
		return pattern{}, errStars
	case strings.ContainsAny(field, strings.ReplaceAll(foreign, " ", "")):
		return pattern{}, errForeign
	}
	return pattern{kind: byName, text: field}, nil
}
