package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"xvsock/services"
)

func TestTheClockTellsTheTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	known := func(net.Conn) (services.Caller, bool) { return services.Caller{Domain: 1}, true }
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- newClock(known, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	before := time.Now().Add(-time.Second)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	told, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
	if err != nil || told.Before(before) || told.After(time.Now()) {
		t.Errorf("the clock says %q, %v", text, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
