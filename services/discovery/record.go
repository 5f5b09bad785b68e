package discovery

import (
	"fmt"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"xvsock/services"
)

// Record is a service as discovery knows it. Its JSON shape only ever grows.
type Record struct {
	Domain string            `json:"domain"` // the toolstack's name of the domain
	UUID   string            `json:"uuid"`
	Name   string            `json:"name"` // of the service
	Port   uint32            `json:"port"`
	State  services.State    `json:"state"`
	CID    uint32            `json:"cid,omitempty"` // address of the domain, if it is told
	Txt    map[string]string `json:"txt,omitempty"` // shared; not changed

	// DomainID is the domain's id where the directory knows it. It does not
	// leave the directory.
	DomainID uint16 `json:"-"`
}

// Equal reports whether two records say the same.
func (r Record) Equal(o Record) bool {
	return maps.Equal(r.Txt, o.Txt) && r.Domain == o.Domain && r.UUID == o.UUID && r.Name == o.Name &&
		r.Port == o.Port && r.State == o.State && r.CID == o.CID && r.DomainID == o.DomainID
}

// Filter narrows a question down; the zero value asks for all.
type Filter struct {
	Name   string `json:"name,omitempty"`   // of the service
	Domain string `json:"domain,omitempty"` // name or UUID of the domain
}

// Match reports whether the filter lets a record through.
func (f Filter) Match(r Record) bool {
	return (f.Name == "" || f.Name == r.Name) && f.matchDomain(r.Domain, r.UUID)
}

func (f Filter) matchDomain(name, uuid string) bool {
	return f.Domain == "" || f.Domain == name || f.Domain == uuid
}

// Kind says what became of a record.
type Kind string

const (
	// Put says that the record is new or has changed.
	Put Kind = "put"
	// Delete says that the record is gone; it is told as it last was.
	Delete Kind = "delete"
)

// Change is a step of a directory.
type Change struct {
	Kind    Kind   `json:"kind"`
	Service Record `json:"service"`
}

const maxDomainName = 255

// check returns an error if a record received from a peer breaks a rule. Names
// of domains are the toolstack's and need not be plain, but must be safe to
// show.
func (r Record) check() error {
	i := services.Info{Name: r.Name, Port: r.Port, Txt: r.Txt}
	if err := i.Check(); err != nil {
		return err
	}
	if !r.State.Valid() {
		return fmt.Errorf("%w: %.32q", services.ErrState, r.State)
	}
	if !showable(r.Domain) || !showable(r.UUID) {
		return fmt.Errorf("bad domain name or uuid of service %s", r.Name)
	}
	return nil
}

// showable reports whether text is short UTF-8 of letters, marks, numbers,
// punctuation, symbols and the ASCII space: nothing that steers a terminal or
// the direction of text.
func showable(s string) bool {
	return len(s) <= maxDomainName && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
