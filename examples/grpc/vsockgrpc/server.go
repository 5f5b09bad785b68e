package vsockgrpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"xvsock/vsock"
)

// pingsAtMost is how often a server bears pings. gRPC's clients send one each 10 s at
// the most.
const pingsAtMost = 5 * time.Second

// ServerOptions are what a server needs for clients of this package: it bears their
// pings. Left to itself, gRPC's server ends a connection at the third one that comes
// sooner than 5 minutes after the last.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsAtMost}),
	}
}

// Caller is the address of who is calling, in the context of a call that came over
// xvsock: the CID is that of the domain, and no other domain can have it claimed. A port
// below 1024 is one of its root's alone. Behind an AF_VSOCK socket, and behind its unix
// socket, is any program of that domain which may open it.
func Caller(ctx context.Context) (vsock.Addr, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return vsock.Addr{}, false
	}
	a, ok := p.Addr.(vsock.Addr)
	return a, ok
}
