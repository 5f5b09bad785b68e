package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"xvsock/services"
)

// Toggle is a key that takes on or off.
type Toggle bool

// String returns the word that the key takes.
func (t Toggle) String() string {
	if t {
		return "on"
	}
	return "off"
}

// PortRange is the ports from First to Last.
type PortRange struct{ First, Last uint32 }

// String returns the range as a source gives it.
func (r PortRange) String() string {
	if r.First == r.Last {
		return services.FormatPort(r.First)
	}
	return strconv.FormatUint(uint64(r.First), 10) + "-" + strconv.FormatUint(uint64(r.Last), 10)
}

// maxDenied is how many ranges of ports bridge-deny takes.
const maxDenied = 64

// denyKey makes the row of bridge-deny.
func denyKey() Key {
	return Key{
		Name: "bridge-deny", Form: "PORT|FIRST-LAST", Repeat: true, Example: []string{"ssh", "8000-8010"},
		Help: "Ports of other domains that programs of this domain may not connect to, whatever policy says: a number,\n" +
			"the name of a well-known port, or a range. Port 1 never is for them.",
		set: func(c *Config, value string) (string, error) {
			r, err := parseRange(value)
			if err != nil {
				return "write 22, ssh or 8000-8010", err
			}
			if len(c.Deny) == maxDenied {
				return "use ranges", fmt.Errorf("more than %d of them", maxDenied)
			}
			c.Deny = append(slices.Clip(c.Deny), r)
			return "", nil
		},
		get: func(c Config) (list []string) {
			for _, r := range c.Deny {
				list = append(list, r.String())
			}
			return list
		},
	}
}

// parseRange reads a port or a range of two numbers.
func parseRange(text string) (PortRange, error) {
	from, to, isRange := strings.Cut(text, "-")
	first, err := services.ParsePort(from)
	if !isRange {
		return PortRange{first, first}, err
	}
	if err != nil {
		return PortRange{}, err
	}
	last, err := services.ParsePort(to)
	switch {
	case err != nil:
		return PortRange{}, err
	case services.WellKnown(first) == from, services.WellKnown(last) == to:
		return PortRange{}, errors.New("a range is two numbers")
	case last < first:
		return PortRange{}, errors.New("the range ends before it begins")
	}
	return PortRange{first, last}, nil
}

// DefaultDoorMode are the rights of the unix socket for programs if nothing else is
// said, and DefaultDoorGroup is its group.
const (
	DefaultDoorMode  = 0o660
	DefaultDoorGroup = "xvsock"
)

// doorModeKey makes the row of door-mode.
func doorModeKey() Key {
	return Key{
		Name: "door-mode", Form: "0NNN", Default: octal(DefaultDoorMode), Example: []string{"0666"},
		Help: "The rights of the unix socket for programs, /run/xvsock/vsock.sock, and of those of single peers, in octal: who\n" +
			"may write to it may connect to other domains and listen. The directory stays root's, 0755.",
		set: func(c *Config, value string) (string, error) {
			mode, err := strconv.ParseUint(value, 8, 16)
			if err != nil || mode&^0o666 != 0 || mode&0o600 != 0o600 {
				return "the default is " + octal(DefaultDoorMode), errors.New("not the rights of a socket that its owner may use")
			}
			c.DoorMode = uint32(mode)
			return "", nil
		},
		get: func(c Config) []string { return given(octal(c.DoorMode)) },
	}
}

func octal(mode uint32) string { return fmt.Sprintf("0%o", mode) }

// doorGroupKey makes the row of door-group.
func doorGroupKey() Key {
	name := regexp.MustCompile(`^[a-z_0-9][a-z0-9_-]{0,31}$`)
	return Key{
		Name: "door-group", Form: "GROUP", Default: DefaultDoorGroup, Example: []string{"users"},
		Help: "The group of that socket, a name or a number. Where the domain has no group of that name it is root's.",
		set: func(c *Config, value string) (string, error) {
			if !name.MatchString(value) {
				return "the default is " + DefaultDoorGroup, errors.New("not the name of a group")
			}
			c.DoorGroup = value
			return "", nil
		},
		get: func(c Config) []string { return given(c.DoorGroup) },
	}
}
