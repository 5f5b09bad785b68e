package control

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"xvsock/services/varlink"
)

const (
	// messageRoom is how many bytes of a message are filled; the rest of the
	// smallest size limit is for what surrounds them.
	messageRoom = 60 << 10
	// itemRoom is more than a value, a problem or a service takes as JSON beside
	// its texts.
	itemRoom = 256
	// maxText is the most bytes of one text that are told, as many as a xenstore
	// value or a kernel command line has.
	maxText = 4096
)

// sendSettings answers with values and problems, in as many replies as they need.
func sendSettings(call *varlink.Call, s Settings) (any, error) {
	part, room := Settings{Values: []Value{}, Problems: []string{}}, messageRoom
	next := func(size int) error {
		if room -= size; room >= 0 {
			return nil
		}
		err := call.Send(part)
		part, room = Settings{Values: []Value{}, Problems: []string{}}, messageRoom-size
		return err
	}
	for _, v := range s.Values {
		for _, v := range pieces(v) {
			if err := next(v.size()); err != nil {
				return nil, err
			}
			part.Values = append(part.Values, v)
		}
	}
	for _, p := range s.Problems {
		p = plain(p)
		if err := next(itemRoom + 2*len(p)); err != nil {
			return nil, err
		}
		part.Problems = append(part.Problems, p)
	}
	return part, nil
}

// sendServices answers with services, in as many replies as they need.
func sendServices(call *varlink.Call, list []ServiceStatus) (any, error) {
	part, room := listing{Services: []ServiceStatus{}}, messageRoom
	for _, s := range list {
		s.Error = plain(s.Error)
		size := itemRoom + 2*len(s.Error)
		if room -= size; room < 0 {
			if err := call.Send(part); err != nil {
				return nil, err
			}
			part, room = listing{}, messageRoom-size
		}
		part.Services = append(part.Services, s)
	}
	return part, nil
}

// pieces cuts a value into such that fit in a message each: several of one key are
// the values of that key, one after the other.
func pieces(v Value) []Value {
	first := Value{Key: plain(v.Key), Values: []string{}, Origin: plain(v.Origin)}
	all := []Value{first}
	for _, text := range v.Values {
		last := &all[len(all)-1]
		text = plain(text)
		if len(last.Values) > 0 && last.size()+2*len(text)+len(`"",`) > messageRoom/2 {
			all = append(all, first)
			last = &all[len(all)-1]
		}
		last.Values = append(last.Values, text)
	}
	return all
}

// size is at least what a value takes as JSON, which at most doubles plain text.
func (v Value) size() int {
	n := itemRoom + 2*(len(v.Key)+len(v.Origin))
	for _, text := range v.Values {
		n += 2*len(text) + len(`"",`)
	}
	return n
}

// plain returns text that is fit to be shown: at most maxText bytes, what is not
// printable escaped as Go escapes it, and U+FFFD for what is no UTF-8.
func plain(s string) string {
	if showable(s) {
		return s
	}
	const cut = "..."
	var b strings.Builder
	for _, r := range s {
		piece := string(r)
		if !unicode.IsPrint(r) {
			piece = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if b.Len()+len(piece)+len(cut) > maxText {
			return b.String() + cut
		}
		b.WriteString(piece)
	}
	return b.String()
}

// showable reports whether text needs no change by plain.
func showable(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
