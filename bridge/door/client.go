package door

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/vsock/hybrid"
)

// acceptPause is how long to wait when no descriptor can be had for a client.
const acceptPause = 100 * time.Millisecond

var (
	errEnding = &hybrid.Error{Errno: syscall.ESHUTDOWN, Text: "the daemon ends"}
	errPeers  = &hybrid.Error{Errno: syscall.EINVAL, Text: "this socket is one domain's: say CONNECT PORT"}
	errDomain = &hybrid.Error{Errno: syscall.EINVAL, Text: "no domain given: say CONNECT DOMAIN PORT"}
	errAlone  = &hybrid.Error{Errno: syscall.EINVAL, Text: "nothing to accept from: say LISTEN PORT first"}
)

// client is a connection of a program:
//
//	accepted --line within 5 s--> asked --CONNECT--> dialing --OK--> spliced --> ended
//	    |                           |                    |
//	    |                           +--LISTEN--OK--> listening --hung up--> ended
//	    +---------- ERR, or hung up, or ctx ----------> ended
type client struct {
	Client   // Does is guarded by Server.mu
	conn     *net.UnixConn
	domain   string // whose socket it came by; empty: the main one
	incoming bool   // it is a connection that came in for a program
	deals    bool   // it has booked dealing; guarded by Server.mu
	dealing  dealing

	writing sync.Mutex
}

// accept takes clients until the listener is closed, or its deadline passes and ctx is
// done. It waits while the process is out of descriptors.
func (s *Server) accept(ctx context.Context, l *net.UnixListener, domain string) {
	for {
		conn, err := l.AcceptUnix()
		switch {
		case err == nil:
			s.admit(conn, domain)
			continue
		case errors.Is(err, net.ErrClosed), ctx.Err() != nil:
			return
		}
		s.log.refuse(source{kind: ourselves}, slog.LevelWarn, "cannot accept programs for now", "error", err)
		select {
		case <-time.After(acceptPause):
		case <-ctx.Done():
		}
	}
}

// admit serves a new client in a goroutine of its own, if there is a place for it.
func (s *Server) admit(conn *net.UnixConn, domain string) {
	c := &client{conn: conn, domain: domain}
	cred, err := credentials(conn)
	if err != nil {
		conn.Close()
		return
	}
	c.PID, c.UID, c.GID = cred.Pid, cred.Uid, cred.Gid
	run, no := s.book(c)
	if no != nil {
		s.refuse(c, no)
		conn.Close()
		return
	}
	_ = conn.SetWriteBuffer(streamBuffer)
	run(c.serve)
}

// book takes a place for a client, with its dealing if it is incoming, or returns why
// there is none. Then run runs what the client does, of which a panic costs that client
// alone, and gives the place back; or leave does that.
func (s *Server) book(c *client) (run func(do func(context.Context, *Server, Stack)), no *hybrid.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stack == nil {
		return nil, errEnding
	}
	p := s.places(c)
	if no := p.take(c.UID); no != nil {
		return nil, no
	}
	if c.incoming {
		if no := p.deal(c.dealing, c.domain); no != nil {
			p.give(c)
			return nil, no
		}
		c.deals = true
	}
	c.Since = time.Now()
	s.clients[c] = struct{}{}
	s.work.Add(1)
	ctx, stack := s.life, s.stack
	return func(do func(context.Context, *Server, Stack)) {
		go func() {
			defer s.leave(c)
			defer func() {
				if p := recover(); p != nil {
					s.cfg.Log.Error("serving a program panicked", "panic", p, "stack", string(debug.Stack()))
					c.conn.Close()
				}
			}()
			do(ctx, s, stack)
		}()
	}, nil
}

// leave gives a client's place back.
func (s *Server) leave(c *client) {
	defer s.work.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	s.places(c).give(c)
}

// deal books a client's dealing with the domain that it wants to, of which what is the
// name, or returns why it cannot have another.
func (s *Server) deal(c *client, cid uint32, what string) *hybrid.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := dealingWith(c.UID, cid)
	if no := s.places(c).deal(d, what); no != nil {
		return no
	}
	c.dealing, c.deals = d, true
	return nil
}

// places are where a client is counted.
func (s *Server) places(c *client) *places {
	if c.incoming {
		return &s.incoming
	}
	return &s.own
}

// serve serves a client that has connected.
func (c *client) serve(ctx context.Context, s *Server, stack Stack) {
	defer c.conn.Close()
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	r, err := c.ask()
	if err != nil {
		if errors.Is(err, hybrid.ErrLine) {
			s.refuse(c, hybrid.ErrorOf(err, syscall.EINVAL))
		}
		return
	}
	line, _ := r.Line() // it was one
	s.mu.Lock()
	c.Does = string(line[:len(line)-1])
	s.mu.Unlock()
	s.cfg.Log.Debug("program connected", c.who()...)
	switch {
	case r.Verb == hybrid.Accept:
		s.refuse(c, errAlone)
	case c.domain != "" && (r.Verb != hybrid.Connect || r.Domain != ""):
		s.refuse(c, errPeers)
	case r.Verb == hybrid.Listen:
		c.listen(ctx, s, stack, r.Port)
	case c.domain == "" && r.Domain == "":
		s.refuse(c, errDomain)
	default:
		if c.domain != "" {
			r.Domain = c.domain
		}
		c.connect(ctx, s, stack, r)
	}
}

// ask reads the first line, for which there is not much time.
func (c *client) ask() (hybrid.Request, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(lineTime)); err != nil {
		return hybrid.Request{}, err
	}
	line, err := hybrid.ReadLine(c.conn)
	if err != nil {
		return hybrid.Request{}, err
	}
	r, err := hybrid.ParseRequest(line)
	return r, errors.Join(err, c.conn.SetReadDeadline(time.Time{}))
}

// say writes a line, and a descriptor with it if there is one.
func (c *client) say(line []byte, rights []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(lineTime)); err != nil {
		return err
	}
	// A line is so short that the kernel takes it as a whole.
	if _, _, err := c.conn.WriteMsgUnix(line, rights, nil); err != nil {
		return err
	}
	return c.conn.SetWriteDeadline(time.Time{})
}

// refuse says why a client gets nothing, to it and to the log.
func (s *Server) refuse(c *client, why *hybrid.Error) {
	s.count()
	level := slog.LevelDebug
	if why.Errno == syscall.EACCES || why.Errno == syscall.ENOBUFS {
		level = slog.LevelInfo
	}
	s.log.refuse(source{user, c.UID}, level, "program refused", append(c.who(), "error", why)...)
	_ = c.say(why.Line(), nil) // it may be gone
}

// count counts a refusal.
func (s *Server) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
}

// who says who a client is, for the log.
func (c *client) who() []any {
	return []any{"pid", c.PID, "uid", c.UID, "gid", c.GID, "asks", c.Does}
}

// port reads a port to listen on: as one to connect to is written, or 0 for any.
func port(s string) (uint32, error) {
	if s == "0" {
		return 0, nil
	}
	return services.ParsePort(s)
}

// credentials are those of whoever has connected, by the kernel's word, from when it did.
func credentials(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil {
		return nil, e
	}
	return cred, err
}
