package daemon

import (
	"testing"

	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/vsock"
)

// The directory of a frontend's own services goes by the id that the domain has now,
// also for who has it already.
func TestTheOwnDirectoryGoesByTheIDOfNow(t *testing.T) {
	dom := link.NewDomain(5, nil, nil, nil)
	cfg := Config{Domain: dom, Name: "a"}
	peers := client.New(client.Config{Domain: dom})
	defer peers.Close()
	f := &frontend{daemon: newDaemon(cfg.withDefaults(), nil, vsock.Config{}), peers: peers}
	entry := services.Entry{Info: services.Info{Name: "echo", Port: 7}}
	if err := f.registry.Add(entry.Info); err != nil {
		t.Fatal(err)
	}
	own := &ownDirectory{}
	own.renew(f)
	dom.SetID(9)
	name := "b"
	f.renamed.Store(&name)
	own.renew(f)
	list, revision := own.List(discovery.Caller{Domain: 9}, discovery.Filter{})
	if len(list) != 1 || list[0].CID != vsock.CIDOf(9) || list[0].DomainID != 9 || list[0].Domain != "b" {
		t.Errorf("%+v", list)
	}
	if _, _, err := own.Next(t.Context(), discovery.Caller{Domain: 9}, revision-1); err != nil {
		t.Error(err)
	}
	if own.Register(discovery.Caller{}, entry) == nil || own.Unregister(discovery.Caller{}, "echo") == nil {
		t.Error("somebody registers in a domain's own directory")
	}
}
