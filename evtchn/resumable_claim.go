package evtchn

var _ Claimer = (*Resumable)(nil)

// Claim implements Claimer, if the device does. It is a claim of the device of now:
// after Abandon it is good for nothing but to be released.
func (r *Resumable) Claim() Claim {
	d, err := r.current()
	if err != nil {
		return nil
	}
	if c, ok := d.(Claimer); ok {
		return c.Claim()
	}
	return nil
}
