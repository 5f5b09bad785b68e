package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"xvsock/image/rig"
)

// The rules of the show: what dom0 may, and then what the client may too.
const (
	dom0Rules   = "echo @backend * allow\n"
	clientRule  = "echo client web allow"
	clientRules = dom0Rules + clientRule + "\n"
)

// allow puts rules in force.
func (d *demo) allow(ctx context.Context, rules string) error {
	const dir = "/etc/xvsock/policy.d"
	_, err := d.sh(ctx, fmt.Sprintf("mkdir -p %[1]s && printf %%s '%[2]s' >%[1]s/new && mv %[1]s/new %[1]s/10-demo.policy", dir, rules))
	return err
}

// direct has a third domain, an ordinary one with a shell, reach a service domain by
// a link of their own: denied, allowed, and revoked.
func (d *demo) direct(ctx context.Context) error {
	client, err := d.client(ctx)
	if err != nil {
		return err
	}
	if err := d.in(ctx, client, "xvsock ping web", false); err != nil {
		return err
	}
	d.say("policy", "%s", clientRule)
	if err := d.allow(ctx, clientRules); err != nil {
		return err
	}
	if err := d.reaches(ctx, client); err != nil {
		return err
	}
	for _, command := range []string{"xvsock ping --bytes 1048576 web", "xvsock peers"} {
		if err := d.in(ctx, client, command, true); err != nil {
			return err
		}
	}
	out, err := d.sh(ctx, "xvsock peers")
	if err != nil {
		return err
	}
	fmt.Printf("\ndom0# xvsock peers\n%s", out)
	return d.revoke(ctx, client)
}

// client creates the client's domain.
func (d *demo) client(ctx context.Context) (*rig.Domain, error) {
	ramdisk := filepath.Join(d.dir, "client.cpio")
	err := rig.WriteShellImage(d.host.Parts, rig.ShellImage{
		Output: ramdisk, Files: map[string]string{"/usr/bin/xvsock": d.binary}, Before: "xvsock domain 2>/tmp/daemon &",
	})
	if err != nil {
		return nil, err
	}
	client, err := d.host.Create(ctx, rig.Guest{Name: "client", Ramdisk: ramdisk})
	if err != nil {
		return nil, err
	}
	if _, err := d.sh(ctx, "xvsock attach client"); err != nil {
		return nil, err
	}
	d.say("xl create", "PV domain client, an ordinary one that runs `xvsock domain`")
	_, err = d.until(ctx, "xvsock peers -o json", func(out string) bool { return strings.Count(out, `"up": true`) == 3 })
	return client, err
}

// in runs a command in the client's domain, which must succeed or must not.
func (d *demo) in(ctx context.Context, client *rig.Domain, command string, succeeds bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := client.Sh(ctx, command)
	if err != nil {
		return err
	}
	fmt.Printf("\nclient# %s\n%s\n", command, strings.TrimSpace(r.Stdout))
	if succeeded := r.Code == 0; succeeded != succeeds {
		return fmt.Errorf("%s in the client's domain ended with %d", command, r.Code)
	}
	return nil
}

// reaches waits until the client's domain has heard of the rule.
func (d *demo) reaches(ctx context.Context, client *rig.Domain) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the rule does not arrive"))
	defer cancel()
	for {
		r, err := client.Sh(ctx, "xvsock ping web")
		if err != nil || r.Code == 0 {
			return err
		}
	}
}

// revoke takes the rule away in the middle of a transfer.
func (d *demo) revoke(ctx context.Context, client *rig.Domain) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const transfer = "( xvsock ping --bytes 1073741824 web >/tmp/transfer 2>&1; echo transfer ended >/dev/hvc0 ) &"
	if _, err := client.Sh(ctx, transfer+" sleep 1"); err != nil {
		return err
	}
	if err := d.allow(ctx, dom0Rules); err != nil {
		return err
	}
	start := time.Now()
	if _, err := client.Expect(ctx, "transfer ended"); err != nil {
		return err
	}
	fmt.Println()
	d.say("revoked", "the rule is gone; %v later a transfer between client and web ended:", time.Since(start).Round(time.Millisecond))
	return d.in(ctx, client, "cat /tmp/transfer", true)
}
