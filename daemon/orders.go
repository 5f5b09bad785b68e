package daemon

import (
	"cmp"
	"context"
	"log/slog"

	"xvsock/services/control"
	"xvsock/services/varlink"
)

// orders is what the toolstack may ask of this domain: at port 4, and this domain's
// own root at the control socket.
type orders struct {
	*daemon
	role role
}

var _ control.Domain = (*orders)(nil)

// methods are the orders as they are called.
func (o *orders) methods() varlink.Methods {
	m := control.Methods(o)
	// A status may be larger than a message.
	m[control.MethodStatus] = func(_ context.Context, call *varlink.Call) (any, error) {
		return o.statusOf(o.role).answer(call, func(s Status) any { return StatusReply{s} })
	}
	return m
}

// Status implements control.Domain.
func (o *orders) Status(context.Context) (any, error) { return o.statusOf(o.role), nil }

// Config implements control.Domain.
func (o *orders) Config(context.Context) (control.Settings, error) {
	s := control.Settings{Values: []control.Value{}, Problems: []string{}}
	for _, v := range o.cfg.Settings.Values() {
		s.Values = append(s.Values, control.Value{Key: v.Key, Values: append([]string{}, v.Value...), Origin: v.Origin})
	}
	for _, p := range o.cfg.Problems {
		s.Problems = append(s.Problems, p.String())
	}
	return s, nil
}

// Services implements control.Domain.
func (o *orders) Services(context.Context) ([]control.ServiceStatus, error) {
	list := []control.ServiceStatus{}
	for _, s := range o.supervisor.Status() {
		status := control.ServiceStatus{
			Name: s.Name, Port: s.Port, State: s.State, Starts: s.Starts, Panics: s.Panics, Since: s.Since,
		}
		// Why it ended last, or what is wrong with it though it goes on.
		if err := cmp.Or(s.Err, s.Fault); err != nil {
			status.Error = err.Error()
		}
		list = append(list, status)
	}
	return list, nil
}

// SetLog implements control.Domain.
func (o *orders) SetLog(_ context.Context, level slog.Level) error {
	if o.cfg.Level == nil {
		return control.ErrNotSupported
	}
	o.cfg.Level.Set(level)
	return nil
}

// Restart implements control.Domain.
func (o *orders) Restart(_ context.Context, service string) error {
	return o.supervisor.Restart(service)
}

// Shutdown implements control.Domain.
func (o *orders) Shutdown(_ context.Context, reboot bool) error {
	if o.cfg.Shutdown == nil {
		return control.ErrNotSupported
	}
	o.cfg.Shutdown(reboot)
	return nil
}
