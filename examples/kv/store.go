package main

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

const (
	maxKey   = 64
	maxText  = 4 << 10
	maxKeys  = 10000
	maxBytes = 8 << 20 // of keys and texts
)

// errFull says that the store has as many keys, or bytes, as it may.
var errFull = errors.New("full")

// store holds the texts by key, within bounds.
type store struct {
	mu    sync.Mutex
	texts map[string]string
	bytes int
}

func newStore() *store { return &store{texts: make(map[string]string)} }

func (s *store) get(key string) (text string, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, there = s.texts[key]
	return text, there
}

// set puts a text in the place of the one before.
func (s *store) set(key, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, there := s.texts[key]
	grows := len(text) - len(old)
	if !there {
		grows += len(key)
	}
	if !there && len(s.texts) >= maxKeys || s.bytes+grows > maxBytes {
		return errFull
	}
	s.texts[key] = text
	s.bytes += grows
	return nil
}

func (s *store) del(key string) (there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, there := s.texts[key]
	if there {
		delete(s.texts, key)
		s.bytes -= len(key) + len(text)
	}
	return there
}

// keys returns all keys in order.
func (s *store) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.texts))
}
