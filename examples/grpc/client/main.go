// Command client asks a gRPC server in another domain for its health:
//
//	client xvsock:///db1:7000
//	client -wait 30s xvsock:///@backend:7000
//
// It prints the status and exits with 0 if that is SERVING. With -wait it waits for the
// domain to be there, as after a reboot or a migration.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"xvsock/examples/grpc/vsockgrpc"
	"xvsock/vsock"
)

func main() {
	path := flag.String("door", vsock.DoorPath, "socket of the daemon")
	service := flag.String("service", "", "gRPC service to ask for, empty for the server as a whole")
	wait := flag.Duration("wait", 0, "how long to wait for the server to be there")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: client [options] xvsock:///DOMAIN:PORT")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	status, err := check(vsock.Door{Path: *path}, flag.Arg(0), *service, *wait)
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	fmt.Println(status)
	if status != healthpb.HealthCheckResponse_SERVING {
		os.Exit(1)
	}
}

// callTimeout is how long the server may take for an answer.
const callTimeout = 5 * time.Second

// check asks once. With wait it waits so long for a connection.
func check(door vsock.Door, target, service string, wait time.Duration) (healthpb.HealthCheckResponse_ServingStatus, error) {
	conn, err := vsockgrpc.NewClientAt(door, target)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout+wait)
	defer cancel()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(wait > 0))
	return answer.GetStatus(), err
}
