package toolstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"xvsock/xen"
	"xvsock/xenstore"
)

// Bounds of a policy in xenstore. A node holds 2048 bytes by the quotas of an
// unprivileged domain; 4096 rules have numbers of four digits.
const (
	MaxRules = 4096
	MaxRule  = 1024 // bytes of a rule
)

// ErrRules says that something cannot be a policy in xenstore.
var ErrRules = errors.New("bad policy")

// PolicyPath is the directory of the rules for the backend in domain back. It is
// not there before the first PushPolicy.
func PolicyPath(back xen.DomID) string {
	return "/local/domain/" + back.String() + "/xvsock/policy"
}

// PolicyVersionPath is the node that changes with every policy for the backend in
// domain back, which may read and watch it. Its value is the number of rules and
// a random word, separated by a blank.
func PolicyVersionPath(back xen.DomID) string { return PolicyPath(back) + "/version" }

func rulePath(back xen.DomID, i int) string { return fmt.Sprintf("%s/%04d", PolicyPath(back), i) }

// PushPolicy writes the rules for the backend in domain back, instead of those
// that were there: one rule a node, 0000, 0001 and so on, and then version, in
// one transaction. All of it is the toolstack's own: back may only read it, and
// no other domain may.
//
// It does not look into the rules. The error wraps ErrRules if there are more
// than MaxRules or one is longer than MaxRule or not one line, ErrNoDomain if
// back is gone, and syscall.EAGAIN if others disturbed every attempt.
func PushPolicy(ctx context.Context, store *xenstore.Client, back Domain, rules []string) error {
	if err := checkRules(rules); err != nil {
		return err
	}
	version := fmt.Sprintf("%d %s", len(rules), newAttachment())
	err := store.Transaction(ctx, func(tx *xenstore.Tx) error {
		if err := running(ctx, tx.Read, back); err != nil {
			return err
		}
		dir, perms := PolicyPath(back.ID), ownedBy(0, back.ID)
		w := writer{ctx: ctx, tx: tx}
		w.dir(path.Dir(dir), perms)
		w.remove(dir)
		w.dir(dir, perms)
		for i, rule := range rules {
			w.inherit(rulePath(back.ID, i), rule)
		}
		w.inherit(PolicyVersionPath(back.ID), version)
		return w.err
	})
	if err != nil {
		return fmt.Errorf("push policy to %v: %w", back, err)
	}
	return nil
}

// checkRules checks that each rule fits into a node and is one line.
func checkRules(rules []string) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("%w: %d rules, the most are %d", ErrRules, len(rules), MaxRules)
	}
	for i, rule := range rules {
		if len(rule) > MaxRule || strings.ContainsAny(rule, "\x00\r\n") {
			return fmt.Errorf("%w: rule %d is longer than %d bytes or not one line", ErrRules, i+1, MaxRule)
		}
	}
	return nil
}

// readAttempts bounds how often ReadPolicy begins again when the policy changes
// under it.
const readAttempts = 8

// ReadPolicy reads the rules for the backend in domain back, all of one
// PushPolicy, and their version. It needs no more than back's own rights.
//
// It is no transaction: xenstored lets an unprivileged one touch 1024 nodes only
// (quota_trans_nodes in C xenstored, quota-maxrequests in oxenstored). What makes
// the rules belong together is that version was the same before and after them:
// it is written together with them and never the same twice.
//
// The error wraps fs.ErrNotExist if no policy was ever pushed, ErrRules if what
// is there is none, and syscall.EAGAIN if it changed in every attempt.
func ReadPolicy(ctx context.Context, store *xenstore.Client, back xen.DomID) (rules []string, version string, err error) {
	fail := func(err error) ([]string, string, error) {
		return nil, "", fmt.Errorf("read policy of domain %v: %w", back, err)
	}
	version, err = store.Read(ctx, PolicyVersionPath(back))
	for range readAttempts {
		if err != nil {
			return fail(err)
		}
		rules, err := readRules(ctx, store, back, version)
		again, againErr := store.Read(ctx, PolicyVersionPath(back))
		if againErr != nil {
			return fail(againErr)
		}
		if again == version {
			if err != nil {
				return fail(err)
			}
			return rules, version, nil
		}
		version = again
	}
	return fail(fmt.Errorf("it changes too often: %w", syscall.EAGAIN))
}

// readRules reads as many rules as version says.
func readRules(ctx context.Context, store *xenstore.Client, back xen.DomID, version string) ([]string, error) {
	number, _, _ := strings.Cut(version, " ")
	n, err := xenstore.ParseUint(number, MaxRules)
	if err != nil {
		return nil, fmt.Errorf("%w: version %.64q", ErrRules, version)
	}
	rules := make([]string, n)
	for i := range rules {
		rules[i], err = store.Read(ctx, rulePath(back, i))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: rule %d of %d is not there", ErrRules, i+1, n)
		}
		if err != nil {
			return nil, err
		}
	}
	return rules, checkRules(rules)
}
