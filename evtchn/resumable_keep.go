package evtchn

import "time"

// keepAgain is the pause after a Keep that failed.
const keepAgain = time.Second

// keepLater has d kept in the background. The caller holds mu.
func (r *Resumable) keepLater(d Device) {
	if r.cfg.Keep == nil {
		return
	}
	r.unkept = append(r.unkept, d)
	if r.keeping == nil {
		r.keeping = make(chan struct{})
		go r.keep(r.keeping)
	}
}

// keep gives devices to Keep until none is left, and closes done. Once Close was
// called each is tried one last time.
func (r *Resumable) keep(done chan<- struct{}) {
	defer close(done)
	said := false
	for d := r.nextUnkept(); d != nil; d = r.nextUnkept() {
		last := r.ctx.Err() != nil
		err := r.cfg.Keep(d)
		switch {
		case err == nil:
			r.forgetUnkept()
			continue
		case !said || last:
			said = true
			r.cfg.Log.Error("the event channels of before the resume cannot be kept open: "+
				"do not stop this process before the domain is shut down, it would crash the kernel", "error", err)
		}
		if last {
			r.forgetUnkept()
			continue
		}
		select {
		case <-time.After(keepAgain):
		case <-r.ctx.Done():
		}
	}
}

// nextUnkept is the device that is to be kept next, or nil, which is the end of keep.
func (r *Resumable) nextUnkept() Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unkept) == 0 {
		r.keeping = nil
		return nil
	}
	return r.unkept[0]
}

// forgetUnkept is called for a device that nextUnkept returned.
func (r *Resumable) forgetUnkept() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unkept = r.unkept[1:]
}

// awaitKept waits until every abandoned device is with Keep, or was tried one last
// time.
func (r *Resumable) awaitKept() {
	r.mu.Lock()
	keeping := r.keeping
	r.mu.Unlock()
	if keeping != nil {
		<-keeping
	}
}
