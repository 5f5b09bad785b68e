package main

import (
	"net"
	"sync"
	"time"
)

const (
	idleTime  = 2 * time.Minute
	writeTime = 10 * time.Second
	stopTime  = 500 * time.Millisecond // for answers that are on their way
)

// patient is a connection that waits for its peer, but not for ever, and hardly at
// all once it is told to hurry.
type patient struct {
	net.Conn

	mu      sync.Mutex // over a deadline and whether it is the right one
	hurried bool
}

// Read reads what comes within idleTime.
func (p *patient) Read(b []byte) (int, error) {
	p.mu.Lock()
	if !p.hurried {
		p.SetReadDeadline(time.Now().Add(idleTime))
	}
	p.mu.Unlock()
	return p.Conn.Read(b)
}

// Write writes what the peer takes within writeTime.
func (p *patient) Write(b []byte) (int, error) {
	p.mu.Lock()
	if !p.hurried {
		p.SetWriteDeadline(time.Now().Add(writeTime))
	}
	p.mu.Unlock()
	return p.Conn.Write(b)
}

// hurry ends all reading, and in stopTime all writing.
func (p *patient) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hurried = true
	p.SetReadDeadline(time.Now())
	p.SetWriteDeadline(time.Now().Add(stopTime))
}
