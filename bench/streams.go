package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errHalf  = errors.New("connections of this kind cannot end one direction alone")
	errTally = errors.New("the receiver counted otherwise than was sent")
)

// streams are those that go on at the same time.
type streams struct {
	trial *trial
	size  int // of a message
	all   []*stream
	stop  atomic.Bool // no more is sent; set by anybody
	going sync.WaitGroup
}

// stream is one of them.
type stream struct {
	conn   net.Conn
	moved  *atomic.Uint64 // messages, or reads
	counts uint64         // messages
	got    tally          // by the receiver
}

// openStreams opens the connections of the plan's streams.
func (t *trial) openStreams() (*streams, error) {
	n, size := t.senders()
	s := &streams{trial: t, size: size}
	k := kindSink
	if t.Reverse {
		k = kindSource
	}
	for range n {
		c, err := t.open(k, size)
		if err != nil {
			return nil, err
		}
		if _, can := c.(interface{ CloseWrite() error }); !can && !t.Reverse {
			return nil, errHalf
		}
		s.all = append(s.all, &stream{conn: c, moved: t.mover()})
	}
	return s, nil
}

// start has the streams begin. Each ends after count messages (0: no bound), or when
// stop is set.
func (s *streams) start(count uint64) {
	message := make([]byte, s.size) // of all: nobody writes to it
	s.going.Add(len(s.all))
	for _, one := range s.all {
		s.trial.tasks.Go(func() {
			defer s.going.Done()
			var err error
			if s.trial.Reverse {
				err = one.receive(make([]byte, sinkSize(s.size)), count*uint64(s.size), &s.stop)
				one.counts = one.got.bytes / uint64(s.size)
			} else {
				err = one.send(message, count, &s.stop)
			}
			if err != nil {
				s.stop.Store(true)
				s.trial.fail(fmt.Errorf("stream: %w", err))
			}
		})
	}
}

// send sends messages, ends the stream, and asks what of it has arrived.
func (s *stream) send(message []byte, count uint64, stop *atomic.Bool) error {
	begin := time.Now()
	for !stop.Load() && (count == 0 || s.counts < count) {
		if _, err := s.conn.Write(message); err != nil {
			return err
		}
		s.counts++
		s.moved.Store(s.counts)
	}
	if err := s.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	var b [tallySize]byte
	if _, err := io.ReadFull(s.conn, b[:]); err != nil {
		return fmt.Errorf("what the receiver counted: %w", err)
	}
	s.moved.Add(1)
	s.got = parseTally(b[:])
	took := time.Since(begin)
	switch {
	case s.got.bytes != s.counts*uint64(len(message)):
		return fmt.Errorf("%w: %d bytes of %d", errTally, s.got.bytes, s.counts*uint64(len(message)))
	case s.got.took < 0 || s.got.took > took+took/100+time.Second: // the clocks of two domains
		return fmt.Errorf("%w: %v, which all in all took %v", errTally, s.got.took, took)
	case s.got.took == 0:
		s.got.took = took // it came at once
	}
	return nil
}

// receive takes what a source sends, until it has limit bytes (0: no bound) or stop is
// set. It counts from the first bytes on, without them.
func (s *stream) receive(buffer []byte, limit uint64, stop *atomic.Bool) error {
	n, err := s.conn.Read(buffer)
	first, begin := n, time.Now()
	for reads := uint64(1); err == nil && !stop.Load() && (limit == 0 || s.got.bytes < limit); reads++ {
		n, err = s.conn.Read(buffer)
		s.got.bytes += uint64(n)
		s.moved.Store(reads)
	}
	if err != nil {
		return err
	}
	if s.got.took = time.Since(begin); s.got.bytes == 0 {
		s.got.bytes = uint64(first)
	}
	return s.conn.Close()
}

// result sums up what the streams have carried.
func (s *streams) result(r *Result) (messages uint64) {
	var longest time.Duration
	each := make([]uint64, 0, len(s.all))
	for _, one := range s.all {
		messages += one.counts
		r.Bytes += one.got.bytes
		longest = max(longest, one.got.took)
		each = append(each, one.got.bytes)
	}
	if longest > 0 {
		r.MBs = float64(r.Bytes) / 1e6 / longest.Seconds()
	}
	r.Fairness = fairness(each)
	return messages
}

// streamed measures streams; of Many also the requests beside them.
func (t *trial) streamed(r *Result) error {
	s, err := t.openStreams()
	if err != nil {
		return err
	}
	if err := t.openIdle(); err != nil {
		return err
	}
	var q *requester
	if t.Case == Many {
		if q, err = t.requester(requestSize); err != nil {
			return err
		}
	}
	m := t.before()
	s.start(t.Count)
	timer := time.AfterFunc(t.Time, func() { s.stop.Store(true) })
	defer timer.Stop()
	var beside sync.WaitGroup
	if q != nil {
		beside.Go(func() {
			if _, _, err := q.run(0, 0, &s.stop); err != nil {
				t.fail(fmt.Errorf("request beside streams: %w", err))
			}
		})
	}
	s.going.Wait()
	s.stop.Store(true)
	beside.Wait()
	r.Count = s.result(r)
	if r.MBs > 0 {
		r.Seconds = float64(r.Bytes) / 1e6 / r.MBs
	}
	m.after(t, r, float64(r.Bytes)/(1<<20), perMiB)
	if q != nil {
		r.Percentiles = q.times.percentiles()
	}
	return nil
}
