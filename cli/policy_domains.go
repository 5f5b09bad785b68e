package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"xvsock/daemon"
	"xvsock/manager/policy"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xen/naming"
)

// dom0Name is what Xen's toolstacks call domain 0.
const dom0Name = "Domain-0"

// policyDomain is a domain as a backend has told it.
func policyDomain(d daemon.PolicyDomain) policy.Domain {
	return policy.Domain{ID: xen.DomID(d.Domain), Name: d.Name, UUID: d.UUID, Tags: d.Tags, Backend: d.Backend}
}

// readDomains reads the domains from a file. backend names the backend's among
// them; "" is domain 0. Domain 0 need not stand there.
func (v *policyView) readDomains(file, backend string) error {
	table, err := toolstack.ReadTable(file)
	if err != nil {
		return &setupError{fmt.Errorf("--domains: %w", err)}
	}
	v.from = "in " + file
	zero := -1
	for i, d := range table.Domains() {
		v.domains = append(v.domains, policy.Domain{ID: d.ID, Name: d.Name, UUID: d.UUID, Tags: d.Tags})
		// Without an id it has got one that is nobody's.
		if d.ID == 0 || zero < 0 && d.Name == dom0Name {
			zero = i
		}
	}
	if zero < 0 {
		zero = len(v.domains)
		v.domains = append(v.domains, policy.Domain{Name: dom0Name})
	}
	v.domains[zero].ID = 0
	if backend != "" {
		d, err := v.pick(backend)
		if err != nil {
			return fmt.Errorf("--backend: %w", err)
		}
		zero = slices.IndexFunc(v.domains, func(o policy.Domain) bool { return o.ID == d.ID })
	}
	v.domains[zero].Backend = true
	markTwins(v.domains)
	return nil
}

// markTwins marks the domains whose name or uuid is another's too.
func markTwins(domains []policy.Domain) {
	names, uuids := make(map[string]int), make(map[string]int)
	for _, d := range domains {
		names[d.Name]++
		uuids[strings.ToLower(d.UUID)]++
	}
	for i := range domains {
		d := &domains[i]
		d.Twin = d.Name != "" && names[d.Name] > 1
		d.TwinUUID = d.UUID != "" && uuids[strings.ToLower(d.UUID)] > 1
	}
}

// pair returns the two domains that a question is about. The error wraps
// toolstack.ErrNoDomain or toolstack.ErrAmbiguous.
func (v *policyView) pair(source, destination string) (src, dst policy.Domain, err error) {
	if src, err = v.find(source); err != nil {
		return src, dst, err
	}
	if dst, err = v.find(destination); err != nil {
		return src, dst, err
	}
	if v.from == "" && source != destination && src.ID == dst.ID && src.ID != 0 {
		dst.ID++ // another domain; only 0 would mean something
	}
	return src, dst, nil
}

// find returns the domain that spec names.
func (v *policyView) find(spec string) (policy.Domain, error) {
	switch {
	case v.from == "" && slices.Contains([]string{"@backend", "@dom0", "0", dom0Name}, spec):
		return policy.Domain{Name: dom0Name, Backend: true}, nil
	case v.from == "":
		return bareDomain(spec)
	case spec == "@backend":
		return v.first(spec, func(d policy.Domain) bool { return d.Backend })
	case spec == "@dom0":
		return v.first(spec, func(d policy.Domain) bool { return d.ID == 0 })
	}
	return v.pick(spec)
}

// bareDomain is a domain of which nothing is known but what it is called. What can
// be no name is refused: it would match no rule, or one that was not meant.
func bareDomain(spec string) (policy.Domain, error) {
	uuid, prefixed := strings.CutPrefix(spec, "uuid:")
	switch {
	case naming.IsUUID(uuid):
		return policy.Domain{ID: 1, UUID: strings.ToLower(uuid)}, nil
	case spec == "" || prefixed || strings.HasPrefix(spec, "@"):
		return policy.Domain{}, fmt.Errorf("%w: %.64q is no name and no uuid of a domain", toolstack.ErrNoDomain, spec)
	case strings.ContainsAny(spec, "*?"):
		return policy.Domain{}, fmt.Errorf("%w: %.64q is a pattern: name one domain, or give --domains", toolstack.ErrNoDomain, spec)
	case strings.Trim(spec, "0123456789") == "":
		return policy.Domain{}, fmt.Errorf("%w: %.64q is an id: give --domains, which tells whose", toolstack.ErrNoDomain, spec)
	}
	return policy.Domain{ID: 1, Name: spec}, nil
}

// first returns the first domain that is what spec says.
func (v *policyView) first(spec string, is func(policy.Domain) bool) (policy.Domain, error) {
	i := slices.IndexFunc(v.domains, is)
	if i < 0 {
		return policy.Domain{}, fmt.Errorf("%w: %s is not %s", toolstack.ErrNoDomain, spec, v.from)
	}
	return v.domains[i], nil
}

// pick returns the domain that has the name, uuid or id.
func (v *policyView) pick(spec string) (policy.Domain, error) {
	all := make([]toolstack.Domain, 0, len(v.domains))
	for _, d := range v.domains {
		all = append(all, toolstack.Domain{ID: d.ID, Name: d.Name, UUID: strings.ToLower(d.UUID)})
	}
	found, err := toolstack.Pick(all, spec)
	if errors.Is(err, toolstack.ErrNoDomain) {
		err = fmt.Errorf("%w: %.64q is no name, uuid or id of a domain %s", toolstack.ErrNoDomain, spec, v.from)
	}
	if err != nil {
		return policy.Domain{}, err
	}
	return v.first(spec, func(d policy.Domain) bool { return d.ID == found.ID })
}

// domainName is how messages name a domain.
func domainName(d policy.Domain) string {
	switch {
	case d.Name != "":
		return d.Name
	case d.UUID != "":
		return "uuid:" + d.UUID
	case d.Backend:
		return "@backend"
	}
	return d.ID.String()
}
