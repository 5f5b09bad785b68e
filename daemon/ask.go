package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"xvsock/services"
	"xvsock/services/varlink"
	"xvsock/vsock"
)

// maxMetrics bounds the text that a domain's metrics may have, in bytes.
const maxMetrics = 1 << 20

// askable reports whether MethodAsk speaks to a port: those of the services that
// answer in the shape of Varlink and are there for the toolstack.
func askable(port uint32) bool {
	return slices.Contains([]uint32{services.PortDiscovery, services.PortHealth, services.PortControl, services.PortLog}, port)
}

// dialRoot connects to a port of a domain that a person named, as this domain's root.
func (c *controlSocket) dialRoot(ctx context.Context, domain string, port uint32) (*vsock.Conn, error) {
	to, err := c.role.target(domain)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := c.stack.DialPrivileged(ctx, vsock.Addr{CID: to.cid, Port: port})
	if err != nil {
		return nil, failed(fmt.Errorf("%s of %q: %w", services.FormatPort(port), domain, err))
	}
	return conn, nil
}

// relay answers MethodAsk. What the domain answers goes through as it is: a JSON
// object of bounded size, or an error's name.
func (c *controlSocket) relay(ctx context.Context, call *varlink.Call) (any, error) {
	var args AskArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	if !askable(args.Port) {
		return nil, varlink.Invalid("port")
	}
	conn, err := c.dialRoot(ctx, args.Domain, args.Port)
	if err != nil {
		return nil, err
	}
	client := varlink.NewClient(conn, varlink.Limits{Idle: queryTimeout})
	defer client.Close()
	var in any
	if len(args.Parameters) > 0 {
		in = args.Parameters
	}
	if call.More {
		last, err := relayStream(ctx, client, call, args.Method, in)
		return last, failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var out json.RawMessage
	if err := client.Call(ctx, args.Method, in, &out); err != nil {
		return nil, failed(err)
	}
	return object(out), nil
}

// object is a reply to pass on; one without parameters is empty.
func object(parameters json.RawMessage) any {
	if len(parameters) == 0 {
		return nil
	}
	return parameters
}

// relayStream passes on a stream of replies for as long as the caller listens, and
// returns the last one.
func relayStream(ctx context.Context, client *varlink.Client, call *varlink.Call, method string, in any) (any, error) {
	for r, err := range client.Replies(ctx, method, in) {
		if err != nil {
			return nil, err
		}
		if !r.Continues {
			return object(r.Parameters), nil
		}
		if err := call.Send(object(r.Parameters)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// metrics answers MethodMetrics: the text of port 5, in parts of whole lines.
func (c *controlSocket) metrics(ctx context.Context, call *varlink.Call) (any, error) {
	var args MetricsArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	conn, err := c.dialRoot(ctx, args.Domain, services.PortMetrics)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(queryTimeout))
	conn.CloseWrite() // which asks for the bare text
	limited := &io.LimitedReader{R: conn, N: maxMetrics + 1}
	lines := bufio.NewScanner(limited)
	var part strings.Builder
	for lines.Scan() {
		if part.Len()+len(lines.Bytes()) > partSize {
			if err := call.Send(MetricsReply{Text: part.String()}); err != nil {
				return nil, err
			}
			part.Reset()
		}
		part.Write(lines.Bytes())
		part.WriteByte('\n')
	}
	switch {
	case lines.Err() != nil:
		return nil, failed(fmt.Errorf("metrics of %q: %w", args.Domain, lines.Err()))
	case limited.N == 0:
		return nil, failed(fmt.Errorf("metrics of %q: more than %d KiB", args.Domain, maxMetrics>>10))
	}
	return MetricsReply{Text: part.String()}, nil
}
