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
//	NOT_SERVING --listener made--> SERVING --returned, panicked--> NOT_SERVING
//	     ^                                                              |
//	     +------------------- pause of 0.2 s to 5 s --------------------+
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
	// The tree's own deadline is later than that of the branches, so that a
	// service that hangs is reported by its branch.
	s.tree = suture.New("services", suture.Spec{
		EventHook: s.event,
		Timeout:   s.timeout + s.timeout/4,
	})
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
	r := &runner{supervisor: s, info: i, service: svc}
	branch := suture.New(i.Name, suture.Spec{
		EventHook: s.event,
		// Every failure is followed by a pause, whose length runner.backoff says.
		FailureThreshold: 0.5,
		BackoffJitter:    &r.backoff,
		Timeout:          s.timeout,
	})
	branch.Add(r)
	r.token = s.tree.Add(branch)
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
	err := s.tree.RemoveAndWait(r.token, s.timeout+s.timeout/4)
	if errors.Is(err, suture.ErrSupervisorNotStarted) || errors.Is(err, suture.ErrSupervisorNotRunning) {
		err = nil
	}
	if rerr := s.registry.Remove(name); rerr != nil {
		return rerr
	}
	if err != nil || r.running.Load() {
		return fmt.Errorf("%w: %s", ErrStuck, name)
	}
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
		if s.runners[name].running.Load() {
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
	Starts uint64 // times it was started
	Panics uint64 // times it panicked; each is a bug
	Err    error  // why it ended last, nil if it never did
}

// Status returns the state of all services, by name.
func (s *Supervisor) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.runners))
	for _, name := range slices.Sorted(maps.Keys(s.runners)) {
		list = append(list, s.runners[name].status())
	}
	return list
}

// event is told by suture what happens in the tree.
func (s *Supervisor) event(e suture.Event) {
	switch e := e.(type) {
	case suture.EventServicePanic:
		if r, ok := e.Service.(*runner); ok {
			r.panicked(e.PanicMsg)
		}
		s.log.Error("service panicked", "service", e.ServiceName, "panic", e.PanicMsg, "stack", e.Stacktrace)
	case suture.EventServiceTerminate:
		s.log.Warn("service ended", "service", e.ServiceName, "error", fmt.Sprint(e.Err))
	case suture.EventStopTimeout:
		s.log.Error("service does not stop", "service", e.ServiceName)
	}
}
