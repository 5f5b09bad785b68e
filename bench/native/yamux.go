package main

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/yamux"
)

// yamuxed is one stream of yamux over the socket, as yamux is by default but that it
// logs nothing.
type yamuxed struct{}

func (yamuxed) name() string { return "yamux" }

// yamuxConfig is yamux's own defaults.
func yamuxConfig() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.LogOutput = io.Discard
	return cfg
}

func (yamuxed) dial(raw net.Conn) (net.Conn, func() error, error) {
	ses, err := yamux.Client(raw, yamuxConfig())
	if err != nil {
		return nil, nil, fmt.Errorf("begin yamux: %w", err)
	}
	conn, err := ses.Open()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a stream of yamux: %w", err), ses.Close())
	}
	return conn, ses.Close, nil
}

func (yamuxed) serve(raw net.Conn) error {
	ses, err := yamux.Server(raw, yamuxConfig())
	if err != nil {
		return fmt.Errorf("begin yamux: %w", err)
	}
	defer ses.Close()
	conn, err := ses.Accept()
	if err != nil {
		return fmt.Errorf("accept a stream of yamux: %w", err)
	}
	// The client ends the session right after its stream. If that cuts an order short,
	// it is the client who says so.
	if err := serve(conn); !errors.Is(err, yamux.ErrSessionShutdown) {
		return err
	}
	return nil
}
