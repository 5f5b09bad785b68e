// Package vsockgrpc carries gRPC over xvsock: between programs of two Xen domains, with
// nothing of IP.
//
// A client names a domain and a port:
//
//	conn, err := vsockgrpc.NewClient("xvsock:///db1:7000")
//	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
//
// A target is xvsock:///DOMAIN:PORT. DOMAIN is whatever the door of the domain takes: a
// name, an id, a uuid, a CID, @backend. PORT is a number or the name of a service. A
// server is gRPC's own on a listener of package vsock:
//
//	l, err := vsock.Listen(7000)
//	server := grpc.NewServer(vsockgrpc.ServerOptions()...)
//	err = server.Serve(l)
//
// # Errors
//
// A call that got no connection fails with codes.Unavailable, and the text of its status
// says why: "connection refused", "permission denied" (some port of the domain may be
// reached, but not this one), "no route to host" (no such domain, or none that may be
// reached: they look alike on purpose). This is so for a denial, too: it is the
// toolstack's, not the service's, it may be lifted at any moment, and gRPC tries again by
// itself, at first after one second. codes.PermissionDenied is left for what the service
// itself refuses. With grpc.WaitForReady(true) a call waits for a connection; if its
// deadline comes first, the status is codes.DeadlineExceeded with that same text.
//
// A call that lost its connection fails with codes.Unavailable. That is so within 2 s of
// the death of the other domain, after a revocation at once, and when either domain is
// migrated; the next call makes a connection again.
//
// # Who is calling
//
// The manager of connections and the link say which domain is at the other end, and no
// byte of the stream has a part in it; see Caller. Which program of that domain it is
// they do not say: TLS over the same connection does, with
// grpc.WithTransportCredentials given to NewClient.
package vsockgrpc
