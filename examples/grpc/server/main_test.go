package main

import (
	"context"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"xvsock/examples/grpc/internal/doortest"
	"xvsock/examples/grpc/vsockgrpc"
	"xvsock/vsock"
)

func TestTheServerAnswersAndEnds(t *testing.T) {
	door := vsock.Door{Path: doortest.Start(t).Path}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, door, 7000) }()
	conn, err := vsockgrpc.NewClientAt(door, "xvsock:///db1:7000")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	for { // until it listens
		answer, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
		if err == nil {
			if answer.Status != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("the server is %v", answer.Status)
			}
			break
		}
		select {
		case err := <-served:
			t.Fatalf("serve = %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("serve = %v", err)
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	door := vsock.Door{Path: doortest.Start(t).Path}
	l, err := door.Listen(t.Context(), 7000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := serve(t.Context(), door, 7000); err == nil {
		t.Error("two servers have one port")
	}
}

func TestACallThatIsHeldOpenDoesNotHoldTheEndUp(t *testing.T) {
	if testing.Short() {
		t.Skip("calls have 5 s to finish")
	}
	door := vsock.Door{Path: doortest.Start(t).Path}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, door, 7000) }()
	conn, err := vsockgrpc.NewClientAt(door, "xvsock:///db1:7000")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for { // until it listens
		held, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = held.Recv()
		}
		if err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	select {
	case <-served:
	case <-time.After(4 * finishing):
		t.Fatal("a caller that stays keeps the server from ending")
	}
}
