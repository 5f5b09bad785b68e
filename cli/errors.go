package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"xvsock/bridge"
	"xvsock/daemon"
	"xvsock/services/control"
	"xvsock/services/discovery"
	"xvsock/services/health"
	"xvsock/services/logs"
	"xvsock/services/varlink"
	"xvsock/toolstack"
)

// Exit codes (design, section 10).
const (
	exitError  = 1   // unknown domain, something that could not be done
	exitSetup  = 125 // no daemon, no Xen, bad usage: nothing was tried
	exitDenied = 126 // denied by policy, or an argument that names two domains
)

// setupError is an error after which nothing was tried.
type setupError struct{ err error }

func (e *setupError) Error() string { return e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// exitCode is the exit code for err.
func exitCode(err error) int {
	var setup *setupError
	switch {
	case errors.Is(err, toolstack.ErrAmbiguous), errors.Is(err, daemon.ErrAmbiguousDomain),
		errors.Is(err, discovery.ErrAmbiguous), errors.Is(err, discovery.ErrDenied), errors.Is(err, daemon.ErrDenied):
		return exitDenied
	case errors.As(err, &setup), errors.Is(err, bridge.ErrNoDaemon), errors.Is(err, bridge.ErrNotAllowed):
		return exitSetup
	}
	return exitError
}

// explain is the one line that an error is told in. What a daemon answered may
// quote another domain, so nothing of it reaches the terminal unescaped.
func explain(err error) string {
	var reply *varlink.Error
	if !errors.As(err, &reply) {
		return printable(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	var p struct {
		Message   string   `json:"message"`
		Parameter string   `json:"parameter"`
		Domains   []string `json:"domains"`
	}
	// What is not of this shape leaves p empty: the name then says it all.
	_ = json.Unmarshal(reply.Parameters, &p)
	switch {
	case errors.Is(err, discovery.ErrServiceNotFound), errors.Is(err, control.ErrServiceNotFound):
		return "no such service, or not there"
	case errors.Is(err, control.ErrNotSupported):
		return "that domain cannot do so: its PID 1 is not xvsock, or it was not told how"
	case errors.Is(err, health.ErrLimitReached), errors.Is(err, logs.ErrLimitReached):
		return "too many watch that domain already"
	case errors.Is(err, discovery.ErrAmbiguous):
		return printable(fmt.Sprintf("several domains have that service (%s): choose with --domain", strings.Join(p.Domains, ", ")))
	case errors.Is(err, discovery.ErrDenied):
		return "denied"
	case reply.Name == varlink.InvalidParameter:
		return printable(fmt.Sprintf("the daemon does not take this value of %q", p.Parameter))
	case p.Message != "":
		return printable(p.Message)
	}
	return printable(reply.Name)
}

// printable returns s with everything escaped that is not a printable character.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	inside := quoted[1 : len(quoted)-1]
	if strings.ReplaceAll(s, `"`, `\"`) == inside {
		return s
	}
	return inside
}
