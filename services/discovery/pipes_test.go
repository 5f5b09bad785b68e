package discovery_test

import (
	"testing"

	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/rpc/rpctest"
	"xvsock/services/varlink"
)

// host is a discovery server.
type host struct{ *rpctest.Listener }

// start serves a directory until the test ends.
func start(t *testing.T, d discovery.Directory) host {
	return host{rpctest.Start(t, discovery.NewServer(discovery.Config{
		Directory: d,
		Identify:  rpctest.Identify,
		Info:      varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
	}))}
}

func (h host) client(t *testing.T, c discovery.Caller) *discovery.Client {
	return discovery.NewClient(h.Dial(t, c), discovery.ClientConfig{MaxRecords: 10000})
}

// domain is a caller from a port of root's.
func domain(id uint16, name string) discovery.Caller {
	return discovery.Caller{Domain: id, CID: uint32(id), Generation: 1, Name: name, UUID: "uuid-" + name, Port: 1000}
}

func serving(name string, port uint32) services.Entry {
	return services.Entry{Info: services.Info{Name: name, Port: port}, State: services.Serving}
}

func everything(discovery.Caller, discovery.Record) bool { return true }
