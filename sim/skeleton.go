package sim

import (
	"context"
	"fmt"

	"xvsock/xen"
	"xvsock/xenstore"
)

// node is one node that the toolstack makes for a domain.
type node struct {
	path    string // below the domain's directory
	value   string
	ofGuest bool // the guest owns it; else domain 0 does, and the guest reads it
}

// skeleton lists what libxl makes in a new domain's directory
// (libxl__domain_make and libxl__build_post of Xen 4.17), but for what only
// a kernel reads (console, store, cpu).
func skeleton(config DomainConfig, id xen.DomID) []node {
	nodes := []node{
		{path: "vm", value: "/vm/" + config.UUID},
		{path: "name", value: config.Name},
		{path: "domid", value: id.String()},
		{path: "memory/target", value: "131072"},
		{path: "device"},
		{path: "control"},
		{path: "control/shutdown", ofGuest: true},
		{path: "control/feature-poweroff", ofGuest: true},
		{path: "control/feature-reboot", ofGuest: true},
		{path: "control/feature-suspend", ofGuest: true},
		{path: "control/sysrq", ofGuest: true},
		{path: "control/platform-feature-multiprocessor-suspend", value: "1"},
		{path: "control/platform-feature-xs_reset_watches", value: "1"},
		{path: "device/suspend/event-channel", ofGuest: true},
		{path: "data", ofGuest: true},
		{path: "drivers", ofGuest: true},
		{path: "feature", ofGuest: true},
		{path: "attr", ofGuest: true},
		{path: "error", ofGuest: true},
	}
	if config.DriverDomain {
		nodes = append(nodes, node{path: "libxl", ofGuest: true}, node{path: "device-model", ofGuest: true})
	}
	return nodes
}

// writeSkeleton makes the nodes of a domain in tx. Nodes inherit the permissions
// of the directory, and only what the guest owns is given to it.
func writeSkeleton(ctx context.Context, tx *xenstore.Tx, config DomainConfig, id xen.DomID) error {
	home := "/local/domain/" + id.String()
	readable := []xenstore.Permission{{Domain: 0}, {Domain: id, Read: true}}
	for _, dir := range []string{home, "/vm/" + config.UUID} {
		if err := makeDirectory(ctx, tx, dir, readable...); err != nil {
			return err
		}
	}
	if err := makeDirectory(ctx, tx, "/libxl/"+id.String(), xenstore.Permission{Domain: 0}); err != nil {
		return err
	}
	for _, n := range skeleton(config, id) {
		if err := tx.Write(ctx, home+"/"+n.path, n.value); err != nil {
			return err
		}
		if !n.ofGuest {
			continue
		}
		if err := tx.SetPermissions(ctx, home+"/"+n.path, xenstore.Permission{Domain: id}); err != nil {
			return err
		}
	}
	if err := tx.Write(ctx, "/vm/"+config.UUID+"/uuid", config.UUID); err != nil {
		return err
	}
	return tx.Write(ctx, "/vm/"+config.UUID+"/name", config.Name)
}

// makeDirectory makes an empty directory, without what an earlier domain left.
func makeDirectory(ctx context.Context, tx *xenstore.Tx, path string, permissions ...xenstore.Permission) error {
	if err := tx.Mkdir(ctx, path); err != nil {
		return err
	}
	if err := tx.Remove(ctx, path); err != nil {
		return err
	}
	if err := tx.Mkdir(ctx, path); err != nil {
		return err
	}
	return tx.SetPermissions(ctx, path, permissions...)
}

// removeSkeleton removes the nodes of a domain in tx. What lies elsewhere, such as
// a backend's directory for it, stays, as it does on the real platform.
func removeSkeleton(ctx context.Context, tx *xenstore.Tx, config DomainConfig, id xen.DomID) error {
	for _, dir := range []string{"/vm/" + config.UUID, "/local/domain/" + id.String(), "/libxl/" + id.String()} {
		if err := tx.Remove(ctx, dir); err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
	}
	return nil
}
