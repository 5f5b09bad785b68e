package vsockgrpc

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"xvsock/vsock"
)

// The death of a domain resets its connections without any ping. Pings find what only
// looks alive: a program that hangs in a domain that runs.
const (
	pingAfter = 30 * time.Second // without anything received
	pingWaits = 10 * time.Second // for the answer
)

// NewClient is grpc.NewClient for a target xvsock:///DOMAIN:PORT, through the door of
// this domain at vsock.DoorPath. Nothing is connected yet; a target that is none is an
// error at once. The options come after those of DialOptions, and so are stronger.
func NewClient(target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return NewClientAt(vsock.Door{}, target, options...)
}

// NewClientAt is NewClient through another door, as a container has it.
func NewClientAt(door vsock.Door, target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	return grpc.NewClient(target, append(DialOptions(door), options...)...)
}

// DialOptions are what grpc.NewClient needs for targets of Scheme: the resolver, the
// dialer, pings, and credentials that add nothing. A link is memory that two domains
// share by themselves, and each end knows the domain of the other from the hypervisor.
//
// gRPC asks no HTTP proxy when there is a dialer, whatever HTTPS_PROXY says.
func DialOptions(door vsock.Door) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithResolvers(Resolver{}),
		grpc.WithContextDialer(door.DialContext),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingWaits}),
	}
}
