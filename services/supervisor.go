package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
)

const defaultStopTimeout = 5 * time.Second

// ErrStuck says that services had not stopped when the deadline came.
var ErrStuck = errors.New("services did not stop in time")

// Config is what a Supervisor needs.
type Config struct {
	// Listen makes the listener for a port.
	Listen func(port uint32) (net.Listener, error)
	// Registry is kept up to date with the services' health; nil for a new one.
	Registry *Registry
	// StopTimeout is how long services may take to stop (0: 5 s).
	StopTimeout time.Duration
	// Log is told when a service starts, fails or hangs; nil for silence.
	Log *slog.Logger
}

// Supervisor runs services, each with a listener of its own, and starts them
// again when they fail. Each has its own backoff: one that cannot live does
// not slow the others down. A service is
//
//	NOT_SERVING --prepared, listener made--> SERVING --returned, panicked--> NOT_SERVING
//	  ^      ^                                  |                                |
//	  |      +----------- Restart --------------+                                |
//	  +--- pause of 0.2 s to 5 s, which Restart ends; none is after ErrFinished -+
type Supervisor struct {
	listen   func(uint32) (net.Listener, error)
	registry *Registry
	timeout  time.Duration
	log      *slog.Logger
	tree     *suture.Supervisor

	mu      sync.Mutex
	runners map[string]*runner
}

// NewSupervisor returns a supervisor without services.
func NewSupervisor(c Config) *Supervisor {
	s := &Supervisor{
		listen:   c.Listen,
		registry: c.Registry,
		timeout:  cmp.Or(c.StopTimeout, defaultStopTimeout),
		log:      c.Log,
		runners:  make(map[string]*runner),
	}
	if s.registry == nil {
		s.registry = NewRegistry()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.tree = suture.New("services", suture.Spec{EventHook: s.event, Timeout: s.timeout})
	return s
}

// Registry returns the registry that the supervisor keeps.
func (s *Supervisor) Registry() *Registry { return s.registry }

// Add enters a service in the registry and runs it from when Serve runs. The
// error is that of Registry.Add.
func (s *Supervisor) Add(i Info, svc Service) error {
	if err := s.registry.Add(i); err != nil {
		return err
	}
	r := newRunner(s, i, svc)
	r.token = s.tree.Add(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runners[i.Name] = r
	return nil
}

// Remove stops a service and takes it out of the registry. It waits for the
// service up to the stop timeout; the error wraps ErrNotFound or ErrStuck.
func (s *Supervisor) Remove(name string) error {
	s.mu.Lock()
	r := s.runners[name]
	delete(s.runners, name)
	s.mu.Unlock()
	if r == nil {
		return fmt.Errorf("%w: %.32q", ErrNotFound, name)
	}
	r.remove()
	work := r.work()
	// It says only whether the tree runs, and without it nothing is to be ended.
	_ = s.tree.Remove(r.token)
	if err := s.registry.Remove(name); err != nil {
		return err
	}
	if work == nil {
		return nil
	}
	timeout := time.NewTimer(s.timeout)
	defer timeout.Stop()
	select {
	case <-work:
		return nil
	case <-timeout.C:
		return fmt.Errorf("%w: %s", ErrStuck, name)
	}
}

// Restart ends a service, by the end of its context, and starts it again at once:
// also one that waits out a pause, and one that has finished. It does not wait for
// either; one that does not end within the stop timeout is spoken of in the log. The
// error wraps ErrNotFound.
func (s *Supervisor) Restart(name string) error {
	s.mu.Lock()
	r := s.runners[name]
	s.mu.Unlock()
	if r == nil {
		return fmt.Errorf("%w: %.32q", ErrNotFound, name)
	}
	r.restart()
	return nil
}

// Serve runs the services until ctx is done, and then stops them. It returns
// nil if all of them stopped, else an error that wraps ErrStuck and names
// those that did not. It is called once.
func (s *Supervisor) Serve(ctx context.Context) error {
	s.tree.Serve(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	var stuck []string
	for _, name := range slices.Sorted(maps.Keys(s.runners)) {
		if s.runners[name].work() != nil {
			stuck = append(stuck, name)
		}
	}
	if len(stuck) > 0 {
		return fmt.Errorf("%w: %v", ErrStuck, stuck)
	}
	return nil
}

// Status is how a service has fared.
type Status struct {
	Entry
	Since  time.Time // of the last change of State
	Starts uint64    // times it was started
	Panics uint64    // times it or one of its connections panicked; each is a bug
	Err    error     // why it ended last, nil if it never did
	Fault  error     // what went wrong last without ending it, as a Faulter tells
	// Open, Served and Refused count the connections of a service that is a
	// Counter: those open now, those ever served, and those closed unserved.
	Open, Served, Refused uint64
}

// Status returns the state of all services, by name.
func (s *Supervisor) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.runners))
	for _, name := range slices.Sorted(maps.Keys(s.runners)) {
		list = append(list, s.runners[name].report())
	}
	return list
}

// event is told by suture what happens in the tree. What ends a service stays in
// its runner, so that a panic here is one of the runner.
func (s *Supervisor) event(e suture.Event) {
	switch e := e.(type) {
	case suture.EventServicePanic:
		s.log.Error("supervision panicked", "service", e.ServiceName, "panic", e.PanicMsg, "stack", e.Stacktrace)
	case suture.EventStopTimeout:
		s.doesNotStop(e.ServiceName)
	}
}

func (s *Supervisor) doesNotStop(name string) {
	s.log.Error("service does not stop", "service", name)
}
