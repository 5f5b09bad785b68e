package logs

import (
	"errors"

	"xvsock/services/varlink"
)

// The methods of the interface.
const (
	iface      = "org.xvsock.Log"
	MethodRead = iface + ".Read"
)

// Interface describes org.xvsock.Log in the language of Varlink.
const Interface = `# The log of a domain, as far as it is kept.
interface org.xvsock.Log

# Lines are numbered from 0, the first since the daemon's start. t is when, in seconds
# since then. text is printable: what is not has been escaped.
type Line (position: int, t: float, level: string, text: string)

# Lines from a position on. Without from: from the oldest that is kept; from below 0:
# the last -from. position is where to go on, lost how many lines before the first one
# here, or before position, are no longer kept. At most limit lines in all.
#
# With more, in several replies; without, what fits in one. With follow, which needs
# more, also what is logged from now on, for as long as the caller listens; the first
# reply comes at once, without lines if there are none.
method Read(from: ?int, follow: ?bool, limit: ?int) -> (position: int, lost: int, lines: []Line)

# The log has not come to that position: it began anew.
error PositionNotReached ()
# The caller follows as often as it may.
error LimitReached ()
`

// The errors of the interface, for errors.Is.
var (
	ErrPositionNotReached = &varlink.Error{Name: iface + ".PositionNotReached"}
	ErrLimitReached       = &varlink.Error{Name: iface + ".LimitReached"}
)

// ErrPeer says that the other side's answer breaks a rule of the interface.
var ErrPeer = errors.New("bad answer of log")

// Request says what to read.
type Request struct {
	// From is the position to begin at; below 0 the last -From lines; nil: the oldest
	// line that is kept.
	From *int64 `json:"from,omitempty"`
	// Follow asks also for what is logged from now on.
	Follow bool `json:"follow,omitempty"`
	// Limit is the most lines, of all replies; 0: no limit.
	Limit int64 `json:"limit,omitempty"`
}

// Batch is one reply to a Read. Its JSON shape only ever grows.
type Batch struct {
	Position uint64 `json:"position"` // where to go on
	Lost     uint64 `json:"lost"`     // lines that are no longer kept, before those here
	Lines    []Line `json:"lines"`
}
