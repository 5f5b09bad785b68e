package manager

import (
	"slices"

	"xvsock/manager/policy"
	"xvsock/xen"
)

// Lines about decisions by rules with the parameter log: so many a second, and so
// many at once, for one frontend, whatever it does.
const (
	spokenRate  = 1
	spokenBurst = 20
)

// logging is set if some rule of it wants lines in the log, else nil.
func logging(set *policy.Set) *policy.Set {
	if set != nil && slices.ContainsFunc(set.Rules(), func(r *policy.Rule) bool { return r.Log }) {
		return set
	}
	return nil
}

// speak logs what the rules say to a frontend's request or connection, if the one
// that decides wants that. It is called without locks.
func (m *Manager) speak(frontend xen.DomID, way route, port uint32) {
	m.mu.Lock()
	f, set := m.frontends[frontend], m.spoken
	src, dst := m.subjects[way.src].facts, m.subjects[way.dst].facts
	m.mu.Unlock()
	if f == nil || set == nil {
		return
	}
	by := set.Judge(src, dst, port)
	if by.Rule == nil || !by.Rule.Log || !f.spoken.Allow() {
		return
	}
	m.log.Info("policy", "source", way.src, "destination", way.dst, "port", port,
		"allowed", by.Allow, "file", by.Rule.File, "line", by.Rule.Line)
}
