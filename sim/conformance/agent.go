package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"xvsock/xen"
	"xvsock/xenstore"
)

// The driver in domain 0 and the agent in a guest talk through two nodes in the
// guest's own data directory. Each value is a number, a blank and one line. The
// driver writes a request under the next number, the agent the answer under the
// same, so that neither takes an old value for a new one.
//
//	request "7 start"       the agent ends the last far end and starts a new one
//	request "8 {...}"       it passes the line on
//	reply   "8 {...}"       and brings the far end's answer, or nothing if it has died
const (
	requestNode = "data/conform-request"
	replyNode   = "data/conform-reply"
	startLine   = "start"
)

// Agent serves a driver until ctx ends. start makes a far end.
func Agent(ctx context.Context, store *xenstore.Client, start func() (io.ReadWriteCloser, error)) error {
	a := agent{store: store, start: start}
	defer a.end()
	if err := a.serve(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("conformance agent: %w", err)
	}
	return nil
}

// agent holds the far end that runs now.
type agent struct {
	store *xenstore.Client
	start func() (io.ReadWriteCloser, error)
	far   io.ReadWriteCloser
	in    *bufio.Reader
}

func (a *agent) serve(ctx context.Context) error {
	requests, err := a.store.Watch(ctx, requestNode)
	if err != nil {
		return err
	}
	defer requests.Close()
	if err := a.store.Write(ctx, replyNode, "0 "); err != nil {
		return err
	}
	for last := uint64(0); ; {
		number, line, err := readNode(ctx, a.store, requestNode)
		if err != nil {
			return err
		}
		if number > last {
			last = number
			if err := a.store.Write(ctx, replyNode, strconv.FormatUint(number, 10)+" "+a.answer(line)); err != nil {
				return err
			}
			continue
		}
		select {
		case <-requests.Changed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *agent) end() error {
	if a.far == nil {
		return nil
	}
	err := a.far.Close()
	a.far = nil
	return err
}

// answer carries out one line. An answer that is no JSON tells the driver what
// went wrong, because it cannot be decoded.
func (a *agent) answer(line string) string {
	if line == startLine {
		if err := a.end(); err != nil {
			return "end the last far end: " + err.Error()
		}
		far, err := a.start()
		if err != nil {
			return err.Error()
		}
		a.far, a.in = far, bufio.NewReader(far)
		return startLine
	}
	if a.far == nil {
		return "no far end was started"
	}
	if _, err := io.WriteString(a.far, line+"\n"); err != nil {
		return ""
	}
	reply, err := a.in.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(reply, "\n")
}

// Driver is the way from domain 0 to a far end that an agent runs. What is
// written to it must be whole lines, each followed by a read of its answer.
type Driver struct {
	ctx    context.Context
	store  *xenstore.Client
	home   string
	last   uint64
	answer io.Reader
}

// Drive has the agent in domain peer start a far end. It waits for the agent as
// long as ctx allows, which also bounds every wait of the Driver.
func Drive(ctx context.Context, store *xenstore.Client, peer xen.DomID) (*Driver, error) {
	d := &Driver{ctx: ctx, store: store, home: "/local/domain/" + peer.String() + "/", answer: strings.NewReader("")}
	number, _, err := readNode(ctx, store, d.home+requestNode)
	if err != nil {
		return nil, fmt.Errorf("reach agent in domain %v: %w", peer, err)
	}
	d.last = number
	answer, err := d.exchange(startLine)
	if err != nil {
		return nil, fmt.Errorf("reach agent in domain %v: %w", peer, err)
	}
	if answer != startLine {
		return nil, fmt.Errorf("agent in domain %v: %s", peer, answer)
	}
	return d, nil
}

// Write implements io.Writer. It returns when the answer has come.
func (d *Driver) Write(line []byte) (int, error) {
	answer, err := d.exchange(strings.TrimSuffix(string(line), "\n"))
	if err != nil {
		return 0, err
	}
	if answer != "" {
		answer += "\n"
	}
	d.answer = strings.NewReader(answer)
	return len(line), nil
}

// Read implements io.Reader. It gives the answer to what was written last.
func (d *Driver) Read(b []byte) (int, error) { return d.answer.Read(b) }

func (d *Driver) exchange(line string) (string, error) {
	replies, err := d.store.Watch(d.ctx, d.home+replyNode)
	if err != nil {
		return "", err
	}
	defer replies.Close()
	d.last++
	if err := d.store.Write(d.ctx, d.home+requestNode, strconv.FormatUint(d.last, 10)+" "+line); err != nil {
		return "", err
	}
	for {
		number, answer, err := readNode(d.ctx, d.store, d.home+replyNode)
		if err != nil {
			return "", err
		}
		if number == d.last {
			return answer, nil
		}
		select {
		case <-replies.Changed():
		case <-d.ctx.Done():
			return "", fmt.Errorf("wait for the agent's answer: %w", d.ctx.Err())
		}
	}
}

// readNode reads a number and a line; a node that is not there is number 0.
func readNode(ctx context.Context, store *xenstore.Client, path string) (uint64, string, error) {
	value, err := store.Read(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	number, line, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", path, err)
	}
	return n, line, nil
}
