package control

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"xvsock/services"
	"xvsock/services/varlink"
)

// Domain does what the toolstack orders. Its methods may be called by any goroutine
// and return soon; ctx is done when the caller is gone. An error that wraps
// services.ErrNotFound, ErrNotSupported or another *varlink.Error is told to the
// caller; any other is logged and hidden.
type Domain interface {
	// Status returns what is marshalled as a JSON object, within one message.
	Status(ctx context.Context) (any, error)
	// Config returns the configuration in force.
	Config(ctx context.Context) (Settings, error)
	// Services returns the supervised services, by name.
	Services(ctx context.Context) ([]ServiceStatus, error)
	// SetLog sets the level of the domain's log.
	SetLog(ctx context.Context, level slog.Level) error
	// Restart ends a service, which is then started again.
	Restart(ctx context.Context, service string) error
	// Shutdown begins the end of the domain and does not wait for it, so that it
	// is answered.
	Shutdown(ctx context.Context, reboot bool) error
}

// Methods returns the methods of the interface. They do not ask who is calling: a
// Server does, or the rights of a control socket's file.
func Methods(d Domain) varlink.Methods {
	m := methods{d}
	return varlink.Methods{
		MethodStatus:   m.status,
		MethodConfig:   m.config,
		MethodServices: m.services,
		MethodSetLog:   m.setLog,
		MethodRestart:  m.restart,
		MethodShutdown: m.shutdown,
	}
}

type methods struct{ domain Domain }

func (m methods) status(ctx context.Context, call *varlink.Call) (any, error) {
	if err := call.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	s, err := m.domain.Status(ctx)
	if err != nil {
		return nil, reply(err)
	}
	return statusReply{s}, nil
}

func (m methods) config(ctx context.Context, call *varlink.Call) (any, error) {
	if err := call.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	s, err := m.domain.Config(ctx)
	if err != nil {
		return nil, reply(err)
	}
	return sendSettings(call, s)
}

func (m methods) services(ctx context.Context, call *varlink.Call) (any, error) {
	if err := call.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	list, err := m.domain.Services(ctx)
	if err != nil {
		return nil, reply(err)
	}
	return sendServices(call, list)
}

func (m methods) setLog(ctx context.Context, call *varlink.Call) (any, error) {
	var in setLog
	if err := call.Decode(&in); err != nil {
		return nil, err
	}
	if in.Level == nil {
		return nil, varlink.Invalid("level")
	}
	level, known := parseLevel(*in.Level)
	if !known {
		return nil, varlink.Invalid("level")
	}
	return nil, reply(m.domain.SetLog(ctx, level))
}

func (m methods) restart(ctx context.Context, call *varlink.Call) (any, error) {
	var in restart
	if err := call.Decode(&in); err != nil {
		return nil, err
	}
	if in.Service == nil || services.CheckName(*in.Service) != nil {
		return nil, varlink.Invalid("service")
	}
	return nil, reply(m.domain.Restart(ctx, *in.Service))
}

func (m methods) shutdown(ctx context.Context, call *varlink.Call) (any, error) {
	var in shutdown
	if err := call.Decode(&in); err != nil {
		return nil, err
	}
	if in.Reboot == nil {
		return nil, varlink.Invalid("reboot")
	}
	return nil, reply(m.domain.Shutdown(ctx, *in.Reboot))
}

// parseLevel knows the four levels, in lower case as they are configured.
func parseLevel(s string) (slog.Level, bool) {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if formatLevel(l) == s {
			return l, true
		}
	}
	return 0, false
}

func formatLevel(l slog.Level) string { return strings.ToLower(l.String()) }

// reply makes the error reply for an error of a domain.
func reply(err error) error {
	if errors.Is(err, services.ErrNotFound) {
		return ErrServiceNotFound
	}
	return err
}
