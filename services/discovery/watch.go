package discovery

import (
	"context"

	"xvsock/services/varlink"
)

// messageRoom is how many bytes of a message are filled with records; the rest
// of the smallest size limit is for what surrounds them.
const messageRoom = 60 << 10

// recordRoom is more than a record takes as JSON beside its texts.
const recordRoom = 192

// fitting returns how many of the first records fit in one message.
func fitting(records []Record) int {
	room := messageRoom
	for n, r := range records {
		if room -= size(r); room < 0 && n > 0 {
			return n
		}
	}
	return len(records)
}

// size is at least what a record takes as JSON. Names and txt are plain ASCII,
// which JSON at most doubles, domain names are the toolstack's, and a control
// character in one of those takes six bytes.
func size(r Record) int {
	n := recordRoom + 6*(len(r.Domain)+len(r.UUID)) + len(r.Name)
	for k, v := range r.Txt {
		n += len(k) + 2*len(v) + len(`"":"",`)
	}
	return n
}

// watch sends the whole state, unless the caller has it, and then changes for
// as long as the caller listens. It keeps nothing for a caller that is slow:
// the directory's history goes on without it.
func (t *session) watch(ctx context.Context, call *varlink.Call) (any, error) {
	var from watchFrom
	if err := call.Decode(&from); err != nil {
		return nil, err
	}
	end, err := t.Stream(call, ErrLimitReached)
	if err != nil {
		return nil, err
	}
	defer end()

	revision, err := t.begin(call, from)
	for err == nil {
		before := revision
		var changes []Change
		if changes, revision, err = t.Directory.Next(ctx, t.Caller, before); err == nil {
			err = sendChanges(call, changes, Update{Revision: before, Synced: true}, revision)
		}
	}
	return nil, reply(err)
}

// begin sends the first replies, up to the one that says synced.
func (t *session) begin(call *varlink.Call, from watchFrom) (revision uint64, err error) {
	if from.Revision != nil {
		return *from.Revision, sendChanges(call, nil, Update{}, *from.Revision)
	}
	records, revision := t.Directory.List(t.Caller, Filter{})
	changes := make([]Change, len(records))
	for i, r := range records {
		changes[i] = Change{Put, r}
	}
	return revision, sendChanges(call, changes, Update{}, revision)
}

// sendChanges sends changes that lead to a revision, in as many replies as they
// need. The last one has the revision and says synced. Those before are like
// part: theirs is the revision of the state before, so that a caller that
// resumes from it is told the rest.
func sendChanges(call *varlink.Call, changes []Change, part Update, revision uint64) error {
	records := make([]Record, len(changes))
	for i, c := range changes {
		records[i] = c.Service
	}
	for n := fitting(records); n < len(records); n = fitting(records) {
		part.Changes = changes[:n:n]
		if err := call.Send(part); err != nil {
			return err
		}
		records, changes = records[n:], changes[n:]
	}
	return call.Send(Update{Revision: revision, Synced: true, Changes: append([]Change{}, changes...)})
}
