// Package toolstack is what the toolstack's domain does for xvsock: it finds
// domains, attaches them to a backend, by hand or as they appear, moves and
// detaches them, knows their tags, and pushes policy. All of it is xenstore nodes,
// written in one transaction with the right owners, so it works beside any
// toolstack and with any xenstored.
//
// Attaching is the toolstack's consent: it names the backend, and it writes into
// the backend's directory who the frontend is, where the frontend cannot write
// (design, section 6, "Identity").
package toolstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// Errors of Find.
var (
	ErrNoDomain  = errors.New("no such domain")
	ErrAmbiguous = errors.New("names more than one domain: give its uuid or id")
)

// Domain is a running domain as the toolstack knows it.
type Domain struct {
	ID   xen.DomID
	Name string // empty if the toolstack gave none
	UUID string // empty if the toolstack gave none
}

// String is how messages name d.
func (d Domain) String() string {
	if d.Name == "" {
		return d.ID.String()
	}
	return fmt.Sprintf("%s (%v)", d.Name, d.ID)
}

// List returns the running domains by id. It needs the rights of the toolstack's
// domain: others may not read each other's names.
func List(ctx context.Context, store *xenstore.Client) ([]Domain, error) {
	entries, err := store.List(ctx, "/local/domain")
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	var all []Domain
	for _, entry := range entries {
		id, err := xen.ParseDomID(entry)
		if err != nil {
			continue
		}
		d, err := Describe(ctx, store, id)
		if err != nil {
			return nil, fmt.Errorf("read domain %v: %w", id, err)
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Domain) int { return int(a.ID) - int(b.ID) })
	return all, nil
}

// Describe reads what the toolstack wrote about a domain. A domain may ask it of
// itself too.
func Describe(ctx context.Context, store *xenstore.Client, id xen.DomID) (Domain, error) {
	return describe(ctx, store.Read, id)
}

// describe is Describe, within a transaction or not.
func describe(ctx context.Context, read func(context.Context, string) (string, error), id xen.DomID) (Domain, error) {
	base := "/local/domain/" + id.String()
	name, err := optional(read(ctx, base+"/name"))
	if err != nil {
		return Domain{}, err
	}
	vm, err := optional(read(ctx, base+"/vm"))
	if err != nil {
		return Domain{}, err
	}
	return Domain{ID: id, Name: name, UUID: strings.ToLower(strings.TrimPrefix(vm, "/vm/"))}, nil
}

// Backends returns the domains that have frontends attached, by id.
func Backends(ctx context.Context, store *xenstore.Client) ([]Domain, error) {
	all, err := List(ctx, store)
	if err != nil {
		return nil, err
	}
	var found []Domain
	for _, d := range all {
		fronts, err := store.List(ctx, xenbus.BackendsPath(d.ID))
		if absentIsFine(err) != nil {
			return nil, fmt.Errorf("list frontends of %v: %w", d, err)
		}
		if len(fronts) > 0 {
			found = append(found, d)
		}
	}
	return found, nil
}

// optional turns a missing node into an empty value.
func optional(v string, err error) (string, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return v, err
}

// Find returns the running domain that spec names; see Pick.
func Find(ctx context.Context, store *xenstore.Client, spec string) (Domain, error) {
	all, err := List(ctx, store)
	if err != nil {
		return Domain{}, err
	}
	return Pick(all, spec)
}

// Pick returns the one of all domains that spec names: by id, by name, or by uuid
// ("uuid:..." or bare). A spec of digits only is an id and nothing else, as for xl
// (libxl_domain_qualifier_to_domid), so that a domain whose name is 0 is never
// taken for domain 0. The error wraps ErrNoDomain or ErrAmbiguous.
func Pick(all []Domain, spec string) (Domain, error) {
	uuid := strings.ToLower(strings.TrimPrefix(spec, "uuid:"))
	for _, match := range []func(Domain) bool{
		func(d Domain) bool { return d.ID.String() == spec },
		func(d Domain) bool { return d.Name != "" && d.Name == spec && !isNumber(spec) },
		func(d Domain) bool { return d.UUID != "" && d.UUID == uuid },
	} {
		first := slices.IndexFunc(all, match)
		if first < 0 {
			continue
		}
		if slices.ContainsFunc(all[first+1:], match) {
			return Domain{}, fmt.Errorf("%.64q %w", spec, ErrAmbiguous)
		}
		return all[first], nil
	}
	return Domain{}, fmt.Errorf("%w: %.64q is no name, uuid or id of a running domain", ErrNoDomain, spec)
}

// isNumber reports whether spec is digits only.
func isNumber(spec string) bool { return spec != "" && strings.Trim(spec, "0123456789") == "" }
