package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"xvsock/daemon"
	"xvsock/vsock"
)

// The rules of the demo: what dom0 may, and then what the client may too.
const (
	dom0Rules   = "echo,bench  @backend  *   allow\n"
	clientRules = dom0Rules + "echo        client    db  allow\n"
)

// policyDir is the directory of the demo's rules.
func (d *demo) policyDir() string { return filepath.Join(d.dir, "policy.d") }

// allow puts rules in force, as an administrator would: by writing a file.
func (d *demo) allow(rules string) error {
	if err := os.MkdirAll(d.policyDir(), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.policyDir(), "10-demo.policy"), []byte(rules), 0o644)
}

// showPolicy has the client reach a service domain directly: denied, allowed, and
// revoked.
func (d *demo) showPolicy(ctx context.Context) error {
	// Of a domain that it may not reach, the client does not even know the name.
	if err := d.ping(ctx, d.domains["db"].ID().String(), 64, nil); err == nil {
		return errors.New("client reaches db although no rule allows it")
	} else {
		d.say("denied", "client asks for port 7 of db: %s", explain(err))
	}
	if err := d.allow(clientRules); err != nil {
		return err
	}
	start := time.Now()
	var echoed daemon.PingReply
	err := d.until(ctx, "client reaches db", func() (bool, error) {
		return d.ping(ctx, "db", 1<<20, &echoed) == nil, nil
	})
	if err != nil {
		return err
	}
	d.say("allowed", "a rule %q: %v later 1 MiB has gone from client to db and back over their own link: %.1f ms",
		strings.Join(strings.Fields(strings.TrimPrefix(clientRules, dom0Rules)), " "),
		time.Since(start).Round(time.Millisecond), echoed.Seconds*1e3)
	if err := d.list(ctx, "client", "@backend", "client asks port 2 of the backend again", 3); err != nil {
		return err
	}
	if err := d.program(ctx); err != nil {
		return err
	}
	return d.revoke(ctx)
}

// program has an ordinary program of the client's domain, one that knows nothing of
// Xen, talk with db through the unix socket of its domain.
func (d *demo) program(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, simTimeout)
	defer cancel()
	conn, err := vsock.Door{Path: d.door("client")}.DialContext(ctx, "db:echo")
	if err != nil {
		return err
	}
	defer conn.Close()
	const words = "hello"
	if _, err := io.WriteString(conn, words); err != nil {
		return err
	}
	answer := make([]byte, len(words))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	d.say("program", "a program of client connects to db:echo through its domain's unix socket, says %q and hears %q", words, answer)
	return nil
}

// revoke takes the rule away in the middle of a transfer.
func (d *demo) revoke(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- d.ping(ctx, "db", daemon.MaxPing, nil) }()
	err := d.until(ctx, "a transfer", func() (bool, error) {
		var s daemon.Status
		err := d.call(ctx, "client", daemon.MethodStatus, nil, &s)
		for _, l := range s.Links {
			if l.Name == "db" && l.Connections > 0 {
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		return err
	}
	if err := d.allow(dom0Rules); err != nil {
		return err
	}
	start := time.Now()
	if err = <-ended; err == nil {
		return errors.New("a transfer outlived the rule that allowed it")
	}
	d.say("revoked", "the rule is gone: %v later the transfer ended: %s", time.Since(start).Round(time.Millisecond), explain(err))
	return nil
}

// ping has the client move bytes through the echo of a domain.
func (d *demo) ping(ctx context.Context, domain string, bytes int64, reply *daemon.PingReply) error {
	if reply == nil {
		reply = new(daemon.PingReply)
	}
	a := app{control: d.socket("client")}
	ctx, cancel := context.WithTimeout(ctx, daemon.PingTime(bytes))
	defer cancel()
	return a.call(ctx, daemon.MethodPing, daemon.PingArgs{Domain: domain, Bytes: bytes}, reply)
}
