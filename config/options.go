package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The options of a spec.
const (
	optionMax       = "max"
	optionPerDomain = "per-domain"
	optionUID       = "uid"
	optionGID       = "gid"
)

// mostID is the highest id of a user or group: the one above means "leave it as
// it is" to setresuid(2).
const mostID = 1<<32 - 2

// setOptions reads a list NAME=N,NAME=N of options.
func (s *Service) setOptions(list string) (fix string, err error) {
	had := map[string]bool{}
	for option := range strings.SplitSeq(list, ",") {
		name, number, hasNumber := strings.Cut(option, "=")
		if fix, err := s.checkOption(name, hasNumber); err != nil {
			return fix, err
		}
		if had[name] {
			return "give it once", fmt.Errorf("option %s is given twice", name)
		}
		had[name] = true
		if fix, err := s.setOption(name, number); err != nil {
			return fix, err
		}
	}
	if !had[optionPerDomain] {
		s.PerDomain = min(s.PerDomain, s.Max)
	}
	if s.PerDomain > s.Max {
		return "it is part of it", fmt.Errorf("%s=%d is more than %s=%d", optionPerDomain, s.PerDomain, optionMax, s.Max)
	}
	return "", nil
}

// checkOption checks that the kind of service has the option.
func (s *Service) checkOption(name string, hasNumber bool) (fix string, err error) {
	names := []string{optionMax, optionPerDomain, optionUID, optionGID}
	if s.Kind == ForwardTo {
		names = names[:2]
	}
	switch {
	case name == "" && !hasNumber:
		return "options are " + strings.Join(names, ", "), errors.New("an option is empty")
	case (name == optionUID || name == optionGID) && s.Kind == ForwardTo:
		return "leave it out", fmt.Errorf("option %s is for programs", name)
	case !slices.Contains(names, name):
		fix = "options are " + strings.Join(names, ", ")
		if best := Nearest(strings.ToLower(name), names); best != "" {
			fix = "did you mean " + best + "?"
		}
		return fix, fmt.Errorf("unknown option %s", shown(name))
	case !hasNumber:
		return "write " + name + "=N", fmt.Errorf("option %s has no number", name)
	}
	return "", nil
}

// setOption sets an option that the service has.
func (s *Service) setOption(name, number string) (fix string, err error) {
	least, most := 0, mostID
	var field *int
	switch name {
	case optionMax:
		field, least, most = &s.Max, 1, mostConnections
	case optionPerDomain:
		field, least, most = &s.PerDomain, 1, mostConnections
	case optionUID:
		field = &s.UID
	case optionGID:
		field = &s.GID
	}
	fix = fmt.Sprintf("it is a number from %d to %d", least, most)
	n, err := parseNumber(name, number)
	if err == nil && (n < least || n > most) {
		err = fmt.Errorf("%s %d is out of range", name, n)
	}
	if err != nil {
		return fix, err
	}
	*field = n
	return "", nil
}
