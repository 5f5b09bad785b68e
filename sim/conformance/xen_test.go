package conformance_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"xvsock/sim/conformance"
	"xvsock/xen"
	"xvsock/xenstore"
)

// TestMain plays the role that the environment names, if any. The leak check of
// goroutines is with the simulation's own tests.
func TestMain(m *testing.M) {
	if role := conformance.Role(os.Getenv(conformance.RoleVariable)); role != "" {
		if err := role.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// onXen skips a test on a machine that is no Xen domain.
func onXen(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/dev/xen/evtchn"); err != nil {
		t.Skip("this machine is no Xen domain (no /dev/xen/evtchn); `make test` boots real Xen in QEMU and runs this there")
	}
}

// TestXenstore runs the xenstore's cases on the domain that this test runs in: in
// domain 0 over xenstored's socket and over the kernel's device, in a guest over
// the device.
func TestXenstore(t *testing.T) {
	onXen(t)
	store, err := xenstore.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	id, err := store.ReadDomID(t.Context(), "domid")
	if err != nil {
		t.Fatal(err)
	}
	// The toolstack makes this node for every guest; domain 0 makes its own.
	base := "/local/domain/" + id.String() + "/data"
	if id == 0 {
		if err := store.Mkdir(t.Context(), base); err != nil {
			t.Fatal(err)
		}
	}
	ways := map[string]func() (*xenstore.Client, error){
		"by the device": func() (*xenstore.Client, error) { return xenstore.OpenDevice("/dev/xen/xenbus") },
	}
	if id == 0 {
		ways["by the socket"] = func() (*xenstore.Client, error) { return xenstore.OpenSocket("/run/xenstored/socket") }
	}
	for name, open := range ways {
		t.Run(name, func(t *testing.T) {
			conformance.Xenstore(t, conformance.StorePair{
				Open: func(t *testing.T) *xenstore.Client {
					c, err := open()
					if err != nil {
						t.Fatal(err)
					}
					return c
				},
				Domain: id, Base: base, Privileged: id == 0, Quotas: id != 0,
				OCaml: os.Getenv(conformance.OCamlVariable) != "",
			})
		})
	}
}

// TestXen runs every case on the domain that this test runs in.
func TestXen(t *testing.T) {
	onXen(t)
	peer := os.Getenv(conformance.PeerVariable)
	conformance.Run(t, func(t *testing.T) conformance.Pair {
		near, closeAll, err := conformance.Kernel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := closeAll(); err != nil {
				t.Error(err)
			}
		})
		pair := conformance.Pair{Near: near, Stranger: 0x7FEF, Real: true}
		if peer == "" {
			pair.Far = spawned(t, near.ID())
		} else {
			pair.Far = driven(t, peer)
		}
		return pair
	})
}

// spawned is a far end in a process of this domain.
func spawned(t *testing.T, id xen.DomID) conformance.End {
	far, err := conformance.Spawn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	})
	return conformance.NewRemote(id, far)
}

// driven is a far end in the guest that runs the agent.
func driven(t *testing.T, peer string) conformance.End {
	id, err := xen.ParseDomID(peer)
	if err != nil {
		t.Fatalf("%s: %v", conformance.PeerVariable, err)
	}
	store, err := xenstore.Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(func() {
		cancel()
		store.Close()
	})
	way, err := conformance.Drive(ctx, store, id)
	if err != nil {
		t.Fatal(err)
	}
	return conformance.NewRemote(id, way)
}
