package manager

import (
	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// subject is a domain that rules are about: this one or an attached one.
type subject struct {
	domain policy.Domain
	uuid   port1.UUID   // domain's; zero for none
	facts  policy.Facts // by Manager.set
}

// match finds out what the rules have to do with a domain. The caller holds
// changing.
func (m *Manager) match(d policy.Domain) subject {
	s := subject{domain: d, uuid: binaryUUID(d.UUID)}
	if m.set != nil {
		s.facts = m.set.Match(d)
	}
	return s
}

// pairUp finds the domains that share a name or a uuid, and touches those for which
// that is new: what two domains carry tells neither (design, section 6, "Rules").
func (m *Manager) pairUp(subjects map[xen.DomID]subject, touched map[xen.DomID]bool) {
	names, uuids := make(map[string]int, len(subjects)), make(map[port1.UUID]int, len(subjects))
	for _, s := range subjects {
		names[s.domain.Name]++
		uuids[s.uuid]++
	}
	for id, s := range subjects {
		twin, twinUUID := names[s.domain.Name] > 1, s.uuid != port1.UUID{} && uuids[s.uuid] > 1
		if twin != s.domain.Twin || twinUUID != s.domain.TwinUUID {
			s.domain.Twin, s.domain.TwinUUID = twin, twinUUID
			subjects[id] = m.match(s.domain)
			touched[id] = true
		}
	}
}

// carriersOf returns who carries which uuid, without those that are not one
// domain's.
func carriersOf(subjects map[xen.DomID]subject) map[port1.UUID]xen.DomID {
	all := make(map[port1.UUID]xen.DomID, len(subjects))
	for id, s := range subjects {
		if (s.uuid != port1.UUID{}) && !s.domain.TwinUUID {
			all[s.uuid] = id
		}
	}
	return all
}
