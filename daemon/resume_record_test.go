package daemon_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/vsock"
)

// What a restored domain says of itself on its own port 2 names the domain that it now
// is. Ask passes that on as it is; other questions put the asker's own knowledge there.
func TestARestoredDomainAnswersAsTheOneItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		h.attachAll()
		web := start(t, h.create("web"), resumable(daemon.Frontend), nil)
		cid := func() string {
			var out struct {
				Revision uint64 `json:"revision"`
				Services []struct {
					CID uint32 `json:"cid"`
				} `json:"services"`
			}
			if err := b.ask("web", services.PortDiscovery, "org.xvsock.Discovery.List", map[string]string{"name": "echo"}, &out); err != nil || len(out.Services) != 1 {
				return fmt.Sprint(err)
			}
			return fmt.Sprint(out.Services[0].CID)
		}
		await(t, fmt.Sprint(vsock.CIDOf(web.dom.ID())), 10*time.Second, cid)
		was := web.dom.ID()
		web.restore()
		if web.dom.ID() == was {
			t.Fatal("restored under its old id")
		}
		await(t, fmt.Sprint(vsock.CIDOf(web.dom.ID())), 10*time.Second, cid)
	})
}
