package vsockgrpc

import (
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/resolver"
)

// Scheme is how a target begins that Resolver takes: xvsock:///DOMAIN:PORT.
const Scheme = "xvsock"

// Resolver builds resolvers for targets of Scheme. What stands in the target is the one
// address: the daemon turns names into domains, at every connection anew, so that a domain
// which was created again is found under its name.
type Resolver struct{}

var _ resolver.Builder = Resolver{}

// Scheme implements resolver.Builder.
func (Resolver) Scheme() string { return Scheme }

// Build implements resolver.Builder.
func (Resolver) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	if err := check(target.URL); err != nil {
		return nil, err
	}
	state := resolver.State{Endpoints: []resolver.Endpoint{{
		Addresses: []resolver.Address{{Addr: target.Endpoint()}},
	}}}
	if err := conn.UpdateState(state); err != nil {
		return nil, err
	}
	return fixed{}, nil
}

// fixed is a resolver whose answer never changes.
type fixed struct{}

// ResolveNow implements resolver.Resolver.
func (fixed) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (fixed) Close() {}

// checkTarget says what is wrong with the text of a target. gRPC would take one without
// a scheme for a name in DNS.
func checkTarget(target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != Scheme {
		return fmt.Errorf("target %.60q: want %s:///DOMAIN:PORT", target, Scheme)
	}
	return check(*u)
}

// check says what is wrong with a target. Whether there is such a domain or service, the
// door says when it is dialled.
func check(target url.URL) error {
	endpoint := strings.TrimPrefix(target.Path, "/")
	i := strings.LastIndexByte(endpoint, ':') // as the door's client reads it
	switch {
	case target.Host != "":
		return fmt.Errorf("target %.60q: a slash is missing, want %s:///%s", target.String(), Scheme, target.Host)
	case i < 1, i == len(endpoint)-1, strings.ContainsAny(endpoint, " /\n"):
		return fmt.Errorf("target %.60q: want %s:///DOMAIN:PORT", target.String(), Scheme)
	}
	return nil
}
