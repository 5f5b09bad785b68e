package door

import (
	"context"
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	refusalRate  = 1 // a second
	refusalBurst = 10
)

// refusals bounds what programs can make the log say; the rest is counted.
type refusals struct {
	log    *slog.Logger
	limit  *rate.Limiter
	unsaid atomic.Uint64
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, limit: rate.NewLimiter(refusalRate, refusalBurst)}
}

// refuse says one, if that is not too much.
func (r *refusals) refuse(level slog.Level, msg string, args ...any) {
	if !r.log.Enabled(context.Background(), level) {
		return
	}
	if !r.limit.Allow() {
		r.unsaid.Add(1)
		return
	}
	if n := r.unsaid.Swap(0); n > 0 {
		args = append(args, "not_said", n)
	}
	r.log.Log(context.Background(), level, msg, args...)
}
