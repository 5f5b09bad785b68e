package conformance

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"

	"xvsock/xen"
)

// Remote is an End in another process: requests and replies are JSON objects,
// one a line, one at a time.
type Remote struct {
	id xen.DomID
	mu sync.Mutex
	rw io.ReadWriter
	in *bufio.Reader
}

// NewRemote returns the End that Serve runs at the other side of rw, in domain id.
func NewRemote(id xen.DomID, rw io.ReadWriter) *Remote {
	return &Remote{id: id, rw: rw, in: bufio.NewReader(rw)}
}

// ID implements End.
func (r *Remote) ID() xen.DomID { return r.id }

// Do implements End. The process that is told to exit does not answer: the end
// of rw is its reply.
func (r *Remote) Do(q Request) Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, err := json.Marshal(q)
	if err != nil {
		return failed("far end: encode: %w", err)
	}
	if _, err := r.rw.Write(append(line, '\n')); err != nil {
		return failed("far end: send: %w", err)
	}
	line, err = r.in.ReadBytes('\n')
	if q.Op == Exit && err != nil {
		return Reply{}
	}
	if err != nil {
		return failed("far end: receive: %w", err)
	}
	var reply Reply
	if err := json.Unmarshal(line, &reply); err != nil {
		return failed("far end: decode: %w", err)
	}
	return reply
}

// Serve carries out the requests that come over rw until it ends.
func Serve(rw io.ReadWriter, end End) error {
	in := json.NewDecoder(rw)
	out := json.NewEncoder(rw)
	for {
		var q Request
		if err := in.Decode(&q); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := out.Encode(end.Do(q)); err != nil {
			return err
		}
	}
}
