package rig

import "testing"

// With returns the scenario as seen by another test, one that t.Run started: a
// step that fails ends that one. The host is the same and still belongs to the
// test that booted it.
func (s *Scenario) With(tb testing.TB) *Scenario { return &Scenario{Host: s.Host, tb: tb} }
