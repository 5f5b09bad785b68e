package door

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/time/rate"
)

const (
	refusalRate  = 1 // a second
	refusalBurst = 10
	// maxVoices bounds those that are told apart.
	maxVoices = 256
)

// source is who makes the log say something.
type source struct {
	kind kind
	id   uint32
}

// kind is what a source's id is.
type kind int

const (
	ourselves kind = iota
	user           // uid
	domain         // CID
)

// refusals bounds what programs and peers can make the log say; the rest is counted.
// Each has a bound of its own, so that none can make the log silent about another.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex
	voices map[source]*voice
	rest   *voice // of all who have no place among them
}

// voice is what one source may say.
type voice struct {
	limit  *rate.Limiter
	unsaid uint64
}

func newVoice() *voice { return &voice{limit: rate.NewLimiter(refusalRate, refusalBurst)} }

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, voices: make(map[source]*voice), rest: newVoice()}
}

// refuse says one, if that is not too much.
func (r *refusals) refuse(who source, level slog.Level, msg string, args ...any) {
	if !r.log.Enabled(context.Background(), level) {
		return
	}
	unsaid, ok := r.allow(who)
	if !ok {
		return
	}
	if unsaid > 0 {
		args = append(args, "not_said", unsaid)
	}
	r.log.Log(context.Background(), level, msg, args...)
}

// allow reports whether a source may say something, and how often it might not before.
func (r *refusals) allow(who source) (unsaid uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.voice(who)
	if !v.limit.Allow() {
		v.unsaid++
		return 0, false
	}
	unsaid, v.unsaid = v.unsaid, 0
	return unsaid, true
}

// voice finds a source's, or makes it. The caller holds mu.
func (r *refusals) voice(who source) *voice {
	if v := r.voices[who]; v != nil {
		return v
	}
	if len(r.voices) >= maxVoices {
		r.forget()
	}
	if len(r.voices) >= maxVoices {
		return r.rest
	}
	v := newVoice()
	r.voices[who] = v
	return v
}

// forget forgets those that have been silent for so long that nothing is lost by it.
func (r *refusals) forget() {
	for who, v := range r.voices {
		if v.limit.Tokens() >= refusalBurst {
			r.rest.unsaid += v.unsaid
			delete(r.voices, who)
		}
	}
}
