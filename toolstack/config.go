package toolstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"xvsock/xen"
	"xvsock/xenstore"
)

// Bounds of a domain's configuration in xenstore. A node holds 2048 bytes by the
// quotas of an unprivileged domain.
const (
	MaxConfig      = 256  // values in all
	MaxConfigKey   = 32   // bytes of a key
	MaxConfigValue = 2048 // bytes of a value
)

// ErrConfig says that something cannot be a domain's configuration in xenstore.
var ErrConfig = errors.New("bad configuration")

// configDir is where a domain's configuration is, below its home.
const configDir = "xvsock/config"

// ConfigPath is the directory of what the toolstack tells domain id: a node for
// each key, with its value, or with nodes 0000, 0001 and so on below it, which are
// the values of a key that has more than one, in byte order.
func ConfigPath(id xen.DomID) string { return "/local/domain/" + id.String() + "/" + configDir }

// CheckConfig checks the shape of a configuration: few keys of a-z, 0-9 and "-",
// and values that are short and text. What keys there are, and what they take, it
// does not know. The error wraps ErrConfig.
func CheckConfig(values map[string][]string) error {
	total := 0
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !isConfigKey(key) {
			return fmt.Errorf("%w: key %.64q", ErrConfig, key)
		}
		for _, v := range values[key] {
			if len(v) > MaxConfigValue || !isText(v) {
				return fmt.Errorf("%w: a value of %s is longer than %d bytes or not text", ErrConfig, key, MaxConfigValue)
			}
			if total++; total > MaxConfig {
				return fmt.Errorf("%w: more than %d values", ErrConfig, MaxConfig)
			}
		}
	}
	return nil
}

func isConfigKey(key string) bool {
	return key != "" && len(key) <= MaxConfigKey && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// SetConfig writes what domain id is told, instead of all that it was told before;
// of nothing, nothing is left. A domain reads it once, when it boots. All of it is
// the toolstack's own: the domain may only read it, and no other domain may.
//
// The error wraps ErrConfig if CheckConfig finds something, and ErrNoDomain if the
// domain is gone.
func SetConfig(ctx context.Context, store *xenstore.Client, id xen.DomID, values map[string][]string) error {
	return setConfig(ctx, store, Domain{ID: id}, values)
}

// setConfig is SetConfig for the domain that the caller has looked up.
func setConfig(ctx context.Context, store *xenstore.Client, d Domain, values map[string][]string) error {
	err := CheckConfig(values)
	if err == nil {
		err = store.Transaction(ctx, func(tx *xenstore.Tx) error {
			if err := running(ctx, tx.Read, d); err != nil {
				return err
			}
			w := writer{ctx: ctx, tx: tx}
			w.config(d.ID, values)
			return w.err
		})
	}
	if err != nil {
		return fmt.Errorf("configure %v: %w", d, err)
	}
	return nil
}

// config writes what a domain is told.
func (w *writer) config(id xen.DomID, values map[string][]string) {
	dir, perms := ConfigPath(id), ownedBy(0, id)
	w.remove(dir)
	made := false
	for _, key := range slices.Sorted(maps.Keys(values)) {
		list := values[key]
		if len(list) == 0 {
			continue
		}
		if !made {
			w.dir(path.Dir(dir), perms)
			w.dir(dir, perms)
			made = true
		}
		node := dir + "/" + key
		if len(list) == 1 {
			w.inherit(node, list[0])
			continue
		}
		w.inherit(node, "")
		for i, v := range list {
			w.inherit(fmt.Sprintf("%s/%04d", node, i), v)
		}
	}
}

// ReadConfig reads what domain id is told: the values of each key in their order.
// It is empty if there is nothing. Values are any bytes. With an error, what could
// be read is returned too; it wraps ErrConfig if there are more than MaxConfig.
func ReadConfig(ctx context.Context, store *xenstore.Client, id xen.DomID) (map[string][]string, error) {
	return readConfig(ctx, store, ConfigPath(id))
}

// ReadOwnConfig is ReadConfig for the domain that asks, which need not know its
// id.
func ReadOwnConfig(ctx context.Context, store *xenstore.Client) (map[string][]string, error) {
	return readConfig(ctx, store, configDir)
}

func readConfig(ctx context.Context, store *xenstore.Client, dir string) (map[string][]string, error) {
	r := configReader{ctx: ctx, store: store, values: make(map[string][]string)}
	for _, key := range r.list(dir) {
		node := dir + "/" + key
		children := r.list(node)
		// The node of a key with several values has none itself.
		r.value(key, node, len(children) > 0)
		for _, child := range children {
			r.value(key, node+"/"+child, false)
		}
	}
	if r.err != nil {
		return r.values, fmt.Errorf("read %s: %w", dir, r.err)
	}
	return r.values, nil
}

// configReader reads values until the first error.
type configReader struct {
	ctx    context.Context
	store  *xenstore.Client
	values map[string][]string
	n      int
	err    error
}

// list lists the nodes below one in byte order; none if it is not there.
func (r *configReader) list(dir string) []string {
	if r.err != nil {
		return nil
	}
	names, err := r.store.List(r.ctx, dir)
	r.err = absentIsFine(err)
	slices.Sort(names)
	return names
}

// value reads a value of a key. A node may be gone since it was listed, and one
// that only holds others is empty.
func (r *configReader) value(key, node string, holds bool) {
	if r.err != nil {
		return
	}
	if r.n == MaxConfig {
		r.err = fmt.Errorf("%w: more than %d values", ErrConfig, MaxConfig)
		return
	}
	v, err := r.store.Read(r.ctx, node)
	if err != nil {
		r.err = absentIsFine(err)
		return
	}
	if holds && v == "" {
		return
	}
	r.values[key] = append(r.values[key], v)
	r.n++
}
