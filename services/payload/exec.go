package payload

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"xvsock/services"
	"xvsock/splice"
)

// execService is the payload of a program a connection.
type execService struct {
	door
	faults
	config  Config
	args    []string
	voice   *voice
	buffers splice.Buffers
}

// NewExec returns a service that starts a program for each connection: args are its
// path, which is absolute, and its arguments. The connection is the program's standard
// input and output, its standard error goes to the log, and its environment says who
// is calling, as the link told it; see the package's documentation.
//
// The service cannot be prepared while the program is missing or cannot be run. It ends
// with an error, to be tried again after a pause, when 5 programs in a row have ended
// within a second with an error, each before it read anything, and before its peer
// ended a direction. So a program that turns a peer away by its name does well to exit
// with status 0.
func NewExec(c Config, args []string) services.Service {
	s := &execService{config: c.withDefaults(), args: args}
	s.voice = newVoice(s.config.Log)
	s.init(s.config, s.handle)
	return s
}

// Prepare implements services.Preparer.
func (s *execService) Prepare(context.Context) error {
	return checkProgram(s.args, s.config.UID, s.config.GID)
}

// Serve implements services.Service.
func (s *execService) Serve(ctx context.Context, l net.Listener) error {
	s.begin()
	return s.serve(ctx, s.open(l))
}

func (s *execService) handle(ctx context.Context, conn net.Conn, caller services.Caller) {
	o := s.current()
	t, err := s.start(conn, caller)
	if err != nil {
		splice.Cut(conn)
		s.voice.warn("program cannot be started", "domain", caller.Domain, "error", err)
		// A program that has gone is the service's end; one that cannot be started
		// for want of memory or descriptors costs this connection.
		if services.Shortage(err) {
			return
		}
		if gone := s.Prepare(ctx); gone != nil {
			o.shut(gone)
		}
		return
	}
	own := t.run(ctx)
	if p := t.program; p.ended() && !p.stopped.Load() {
		if err := s.note(caller.Domain, p.failure(s.args[0]), p.took, own); err != nil {
			o.shut(err)
		}
	}
}

// start starts a program for a connection.
func (s *execService) start(conn net.Conn, caller services.Caller) (*talk, error) {
	var ours, theirs [3]*os.File
	for i := range ours {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ours[:i])
			closeAll(theirs[:i])
			return nil, err
		}
		if ours[i], theirs[i] = r, w; i == 0 {
			ours[i], theirs[i] = w, r
		}
	}
	cmd := s.config.command(s.args, peerOf(caller)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	p, err := s.config.start(cmd, s.voice, theirs[:]...)
	if err != nil {
		closeAll(ours[:])
		return nil, err
	}
	return newTalk(conn, p, ours, &s.config, &s.buffers), nil
}

// peerOf says who is calling, for a program's environment. A name that no
// environment can hold is left out.
func peerOf(c services.Caller) []string {
	name, uuid := c.Name, c.UUID
	if strings.ContainsRune(name, 0) {
		name = ""
	}
	if strings.ContainsRune(uuid, 0) {
		uuid = ""
	}
	return []string{
		fmt.Sprintf("XVSOCK_PEER_CID=%d", cidOf(c)),
		fmt.Sprintf("XVSOCK_PEER_PORT=%d", c.Port),
		"XVSOCK_PEER_NAME=" + name,
		"XVSOCK_PEER_UUID=" + uuid,
	}
}

// cidOf is the caller's address; where none is told, the domain id is one.
func cidOf(c services.Caller) uint32 {
	if c.CID != 0 {
		return c.CID
	}
	return uint32(c.Domain)
}
