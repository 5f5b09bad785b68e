// Command server answers gRPC's health checks on a port of this domain, and says which
// domain asked:
//
//	server -port 7000
//
// For root, or for a member of the group xvsock; ports below 1024 for root alone. It
// needs the daemon of the domain (xvsock domain, xvsock backend, or xvsock as PID 1), and
// a rule that lets the callers in.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"xvsock/examples/grpc/vsockgrpc"
	"xvsock/vsock"
)

func main() {
	port := flag.Uint("port", 7000, "port of this domain")
	path := flag.String("door", vsock.DoorPath, "socket of the daemon")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, vsock.Door{Path: *path}, uint32(*port)); err != nil {
		log.Fatal(err)
	}
}

// finishing is how long the calls that are under way may take at the end: a caller can
// hold one open for as long as it likes.
const finishing = 5 * time.Second

// serve answers until ctx ends, and then finishes the calls that are under way.
func serve(ctx context.Context, door vsock.Door, port uint32) error {
	l, err := door.Listen(ctx, port)
	if err != nil {
		return fmt.Errorf("port %d: %w", port, err)
	}
	server := grpc.NewServer(append(vsockgrpc.ServerOptions(), grpc.UnaryInterceptor(logCaller))...)
	healthpb.RegisterHealthServer(server, health.NewServer())
	defer context.AfterFunc(ctx, func() {
		defer time.AfterFunc(finishing, server.Stop).Stop()
		server.GracefulStop()
	})()
	return server.Serve(l) // closes l, and returns when the last call is finished
}

// logCaller logs who calls what.
func logCaller(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if caller, ok := vsockgrpc.Caller(ctx); ok {
		log.Printf("%s by CID %d, port %d", info.FullMethod, caller.CID, caller.Port)
	}
	return handle(ctx, request)
}
