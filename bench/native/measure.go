package main

import (
	"errors"
	"fmt"
	"time"
)

// trial is something that is measured.
type trial struct {
	name   string // as in the table of what is to be reached, where it stands there
	metric string // us, of a round trip, or MB/s
	kind   kind
	size   int // of a message, bytes
}

// cases are what a run measures.
func cases() []trial {
	return []trial{
		{"rr-64B", "us", echo, 64},
		{"stream-16K", "MB/s", sink, 16 << 10},
		{"stream-64K", "MB/s", sink, 64 << 10},
	}
}

// series is a contestant's values, one a round.
type series struct {
	contestant
	values []float64
}

// measure opens a connection by each contestant and has them all take a turn in each
// round. A turn is as many messages as took about so long to warm up.
func (t trial) measure(by []contestant, rounds int, turn time.Duration) (all []series, err error) {
	wires := make([]*wire, 0, len(by))
	defer func() {
		for i, w := range wires {
			if serr := w.stop(); serr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", by[i].name, serr))
			}
		}
	}()
	counts := make([]uint64, len(by))
	for i, c := range by {
		w, err := c.open()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		wires = append(wires, w)
		if counts[i], err = t.calibrate(w, turn); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", t.name, c.name, err)
		}
		all = append(all, series{contestant: c})
	}
	for range rounds {
		for i, w := range wires {
			took, err := t.turn(w, counts[i])
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", t.name, by[i].name, err)
			}
			all[i].values = append(all[i].values, t.value(counts[i], took))
		}
	}
	return all, nil
}

// calibrate warms w up and returns how many messages a turn is.
func (t trial) calibrate(w *wire, turn time.Duration) (count uint64, err error) {
	for count = 100; ; count *= 2 {
		took, err := t.turn(w, count)
		if err != nil {
			return 0, err
		}
		if took >= turn/2 {
			return max(1, uint64(float64(count)*float64(turn)/float64(took))), nil
		}
	}
}

// turn passes so many messages and says how long it took.
func (t trial) turn(w *wire, count uint64) (time.Duration, error) {
	begin := time.Now()
	if err := w.begin(t.kind, t.size, count); err != nil {
		return 0, err
	}
	message := w.trip
	if t.kind == sink {
		message = w.send
	}
	for range count {
		if err := message(); err != nil {
			return 0, err
		}
	}
	if t.kind == sink {
		if err := w.finish(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// value is the metric of a turn.
func (t trial) value(count uint64, took time.Duration) float64 {
	if t.kind == echo {
		return took.Seconds() * 1e6 / float64(count)
	}
	return float64(count) * float64(t.size) / 1e6 / took.Seconds()
}
