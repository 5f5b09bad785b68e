package door

import (
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// However many users come, what is kept of them is bounded, and who is silent long enough
// makes room.
func TestSourcesOfTheLogAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRefusals(slog.New(slog.NewTextHandler(io.Discard, nil)))
		all := func(first uint32) (said int) {
			for i := range uint32(1000) {
				if _, ok := r.allow(source{user, first + i}); ok {
					said++
				}
			}
			return said
		}
		if said := all(0); len(r.voices) != maxVoices || said != maxVoices+refusalBurst {
			t.Errorf("%d are kept, %d were said; want %d, and %d more for the rest", len(r.voices), said, maxVoices, refusalBurst)
		}
		if _, ok := r.allow(source{kind: domain, id: 5}); ok {
			t.Error("the rest has said enough, and says more")
		}
		time.Sleep(time.Minute)
		if said := all(5000); len(r.voices) != maxVoices || said != maxVoices+refusalBurst {
			t.Errorf("later: %d are kept, %d were said", len(r.voices), said)
		}
		if unsaid, ok := r.allow(source{user, 5000}); !ok || unsaid != 0 {
			t.Errorf("one that has its place: %v, %d unsaid", ok, unsaid)
		}
	})
}
