package afvsock

import (
	"errors"
	"io/fs"
	"time"

	"xvsock/bridge/vhost"
)

// work runs f when one of the workers is free.
func (s *Switch) work(f func()) {
	s.workers.Go(func() {
		s.turns <- struct{}{}
		defer func() { <-s.turns }()
		f()
	})
}

// open makes the instance of a slot for peer. A worker calls it, without mu.
func (s *Switch) open(sl *slot, peer Peer) {
	dev, err := s.cfg.Open(peer.CID)
	if err == nil {
		s.once.Do(func() { s.describe(dev) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.poke()
	now := time.Now()
	if err != nil {
		sl.state = waiting
		s.notOpened(sl, err, now)
		return
	}
	if s.off != nil {
		s.off = nil
		s.cfg.Log.Info("programs reach other domains through AF_VSOCK again")
	}
	sl.state, sl.since, sl.why = open, now, ""
	sl.left, sl.quiet = time.Time{}, time.Time{}
	sl.inst = s.newInstance(peer, dev, sl.tally)
	s.publish()
}

// describe logs what the kernel is, once: what it has set up beside vhost-vsock decides
// who has the CIDs below 3.
func (s *Switch) describe(dev Device) {
	d, ok := dev.(interface{ Support() (vhost.Support, error) })
	if !ok {
		return
	}
	if support, err := d.Support(); err != nil {
		s.cfg.Log.Warn("what the kernel's AF_VSOCK has to offer", "error", err)
	} else {
		s.cfg.Log.Info("programs reach other domains through AF_VSOCK", "kernel", support)
	}
}

// notOpened says when to try again. The caller holds mu.
func (s *Switch) notOpened(sl *slot, err error, now time.Time) {
	sl.why = err.Error()
	if errors.Is(err, vhost.ErrUnavailable) || errors.Is(err, fs.ErrPermission) {
		if s.off == nil {
			s.cfg.Log.Warn("programs reach no domains through AF_VSOCK sockets; everything else works", "reason", err)
		}
		s.off, s.lookAt = err, now.Add(lookEvery)
		sl.pause, sl.again = 0, now
		return
	}
	sl.pause = grow(sl.pause, minOpenRetry, maxOpenRetry)
	sl.again = now.Add(sl.pause)
	s.complain(sl, "no instance of the kernel's AF_VSOCK", err)
}

// shut ends a slot's instance: nothing new comes to it from here on. The caller holds
// mu.
func (s *Switch) shut(sl *slot) {
	sl.state = closing
	s.publish()
	i := sl.inst
	s.work(func() {
		err := i.close()
		s.mu.Lock()
		defer s.mu.Unlock()
		defer s.poke()
		sl.state, sl.inst = waiting, nil
		if err != nil {
			s.complain(sl, "close instance of the kernel's AF_VSOCK", err)
		}
	})
}

// complain logs what is wrong with a slot, the same once. The caller holds mu.
func (s *Switch) complain(sl *slot, what string, err error) {
	if text := err.Error(); text != sl.said {
		sl.said = text
		s.cfg.Log.Warn(what, "cid", sl.peer.CID, "domain", sl.peer.Domain, "reason", err)
	}
}
