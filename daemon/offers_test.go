package daemon_test

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"xvsock/config"
	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/payload"
)

// told reads specs of services as a domain is told them.
func told(t *testing.T, specs ...string) []config.Service {
	t.Helper()
	var source config.Source
	for _, s := range specs {
		source.Settings = append(source.Settings, config.Setting{Key: "service", Value: s})
	}
	c, problems := config.Settings(daemon.Known(daemon.Builtin())).Resolve(source)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return c.Services
}

func TestADomainRunsWhatItIsTold(t *testing.T) {
	offers := daemon.Offers(told(t, "echo", "kv:100:exec:/kv a", "once:101:exec-once:/kv", "sock:102:forward:unix:/s"), daemon.Builtin(), payload.OwnChildren())
	want := []struct {
		name string
		port uint32
		late bool
	}{{"echo", 7, false}, {"kv", 100, true}, {"once", 101, true}, {"sock", 102, true}}
	if len(offers) != len(want) {
		t.Fatalf("%d offers, want %d: what every domain has is the daemon's own", len(offers), len(want))
	}
	for i, w := range want {
		if o := offers[i]; o.Info.Name != w.name || o.Info.Port != w.port || o.Late != w.late {
			t.Errorf("offer %d is %+v, late %v, want %+v", i, o.Info, o.Late, w)
		}
	}
}

// A payload that cannot start keeps nobody from being ready, and the socket that a
// connection is forwarded to gets its bytes.
func TestPayloadsAreServedAndMayBeMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	h := newHost(t)
	b := h.backend()
	b.rules.set("100-200 @backend web allow")
	services := told(t, "kv:100:exec-once:/there/is/no/kv", "sock:102:forward:unix:"+path)
	start(t, h.create("web"), daemon.Frontend, func(c *daemon.Config) {
		c.Services = daemon.Offers(services, daemon.Builtin(), payload.OwnChildren())
	})
	ping := func(port uint32) error {
		return b.control.call(t.Context(), daemon.MethodPing, daemon.PingArgs{Domain: "web", Bytes: 100_000, Port: port}, nil)
	}
	await(t, "", 20*time.Second, func() string { return code(ping(102)) })
	if err := ping(100); code(err) != "Failed" {
		t.Errorf("a payload that is not there answers %v", err)
	}
	await(t, "NOT_SERVING SERVING", 10*time.Second, func() string { return b.stateOf("kv") + " " + b.stateOf("sock") })
}

// stateOf is the state of a service in the host's directory.
func (n *node) stateOf(name string) string {
	records, err := n.services("")
	if err != nil {
		return err.Error()
	}
	for _, r := range records {
		if r.Name == name {
			return string(r.State)
		}
	}
	return string(services.Unknown)
}
