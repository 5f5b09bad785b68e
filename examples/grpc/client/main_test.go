package main

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"xvsock/examples/grpc/internal/doortest"
	"xvsock/vsock"
)

// serve answers health checks on port 7000, for "kv" as well, which does not serve.
func serve(t *testing.T, door vsock.Door) {
	t.Helper()
	l, err := door.Listen(t.Context(), 7000)
	if err != nil {
		t.Fatal(err)
	}
	answers := health.NewServer()
	answers.SetServingStatus("kv", healthpb.HealthCheckResponse_NOT_SERVING)
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, answers)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
}

func TestTheClientTellsTheStatus(t *testing.T) {
	door := vsock.Door{Path: doortest.Start(t).Path}
	serve(t, door)
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"":   healthpb.HealthCheckResponse_SERVING,
		"kv": healthpb.HealthCheckResponse_NOT_SERVING,
	} {
		if got, err := check(door, "xvsock:///db1:7000", service, 0); err != nil || got != want {
			t.Errorf("service %q: %v, %v; want %v", service, got, err, want)
		}
	}
}

func TestWithoutWaitingARefusalIsToldAtOnce(t *testing.T) {
	door := vsock.Door{Path: doortest.Start(t).Path}
	if _, err := check(door, "xvsock:///db1:7000", "", 0); status.Code(err) != codes.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestWaitingTheClientFindsAServerThatComesLater(t *testing.T) {
	fake := doortest.Start(t)
	door := vsock.Door{Path: fake.Path}
	got := make(chan error, 1)
	go func() {
		_, err := check(door, "xvsock:///db1:7000", "", 30*time.Second)
		got <- err
	}()
	for fake.Dialled() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	serve(t, door)
	if err := <-got; err != nil {
		t.Error(err)
	}
}
