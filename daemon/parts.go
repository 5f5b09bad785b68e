package daemon

import (
	"encoding/json"
	"fmt"

	"xvsock/services/varlink"
)

// partSize is how many bytes of a list go into one message of an answer, less than
// a message takes.
const partSize = 32 << 10

// parts cuts a list so that each piece fits into a message. The caller asks before
// it adds each element; send sends what it has gathered and begins the next piece.
type parts struct {
	size int
	send func() error
}

// room makes room for v, which has not been added yet.
func (p *parts) room(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if p.size > 0 && p.size+len(data) > partSize {
		if err := p.send(); err != nil {
			return err
		}
		p.size = 0
	}
	p.size += len(data)
	return nil
}

// answer answers the call: with a reply that fits into one message at once, else
// with several, of which a caller takes the last one's result as the handler's. As
// makes a reply of a part.
func (s Status) answer(call *varlink.Call, as func(Status) any) (any, error) {
	part := s
	part.Links = []Link{}
	p := parts{send: func() error {
		if err := call.Send(as(part)); err != nil {
			return err
		}
		part = Status{Links: []Link{}}
		return nil
	}}
	for _, l := range s.Links {
		if err := p.room(l); err != nil {
			return nil, err
		}
		part.Links = append(part.Links, l)
	}
	return as(part), nil
}

// Add appends the next part of an answer: links. What else there is stands in the
// first.
func (s *Status) Add(part Status) { s.Links = append(s.Links, part.Links...) }
