package discovery

import (
	"context"

	"xvsock/services"
)

// Directory is what a Server answers from. All methods may be called by any
// goroutine. Errors are those of packages services and journal, or ErrDenied.
type Directory interface {
	// List returns the records that match and that the caller may know of,
	// in a steady order, with the revision that they belong to.
	List(Caller, Filter) ([]Record, uint64)
	// Next returns changes after a revision that the caller may know of, with
	// the revision that they lead to. It waits until there are some, or ctx is
	// done. The error is journal.ErrCompacted for a revision not known.
	Next(ctx context.Context, c Caller, after uint64) ([]Change, uint64, error)
	// Register enters or changes a service of the caller's domain.
	Register(Caller, services.Entry) error
	// Unregister takes a service of the caller's domain out.
	Unregister(c Caller, name string) error
}

// changesAtOnce is how many changes a Directory looks through in one step.
const changesAtOnce = 64

// OwnDirectory is a domain's own registry as a Directory: it answers for this
// domain, and nobody registers over it.
type OwnDirectory struct {
	registry *services.Registry
	self     Caller
	visible  Visible
}

// NewOwnDirectory returns the directory of a domain's own services. Of self
// the name, UUID, CID and domain id are used, as far as the domain knows them.
// Without visible, nobody sees anything.
func NewOwnDirectory(r *services.Registry, self Caller, visible Visible) *OwnDirectory {
	return &OwnDirectory{registry: r, self: self, visible: visible}
}

// List implements Directory.
func (d *OwnDirectory) List(c Caller, f Filter) ([]Record, uint64) {
	entries, revision := d.registry.List()
	var records []Record
	for _, e := range entries {
		if r := record(d.self, e); f.Match(r) && d.sees(c, r) {
			records = append(records, r)
		}
	}
	return records, revision
}

// Next implements Directory.
func (d *OwnDirectory) Next(ctx context.Context, c Caller, after uint64) ([]Change, uint64, error) {
	for {
		steps, revision, err := d.registry.Next(ctx, after, changesAtOnce)
		if err != nil {
			return nil, after, err
		}
		var changes []Change
		for _, s := range steps {
			ch := Change{Kind: Put, Service: record(d.self, s.Entry)}
			if s.Gone {
				ch.Kind = Delete
			}
			if d.sees(c, ch.Service) {
				changes = append(changes, ch)
			}
		}
		if len(changes) > 0 {
			return changes, revision, nil
		}
		after = revision
	}
}

// Register implements Directory: a domain's own services are entered by its
// own daemon, not over port 2.
func (d *OwnDirectory) Register(Caller, services.Entry) error { return ErrDenied }

// Unregister implements Directory, as Register.
func (d *OwnDirectory) Unregister(Caller, string) error { return ErrDenied }

func (d *OwnDirectory) sees(c Caller, r Record) bool {
	return d.visible != nil && d.visible(c, r)
}

// record is the service of a domain as discovery tells it.
func record(owner Caller, e services.Entry) Record {
	return Record{
		Domain:   owner.Name,
		UUID:     owner.UUID,
		Name:     e.Name,
		Port:     e.Port,
		State:    e.State,
		CID:      owner.CID,
		Txt:      e.Txt,
		DomainID: owner.Domain,
	}
}
