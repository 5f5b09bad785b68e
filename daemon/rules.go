package daemon

import (
	"cmp"
	"context"
	"log/slog"
	"path"
	"strings"

	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/manager/policy/source"
	"xvsock/toolstack"
)

const (
	// PolicyDir is where the rules of a backend in dom0 are, unless it is told
	// otherwise.
	PolicyDir = "/etc/xvsock/policy.d"
	// PolicyInStore is what rules that are in xenstore are called.
	PolicyInStore = "xenstore"
)

// Rules is a source of policy; package source has them.
type Rules interface {
	// Run calls apply with the set that holds from then on, each time there is
	// another one, until ctx ends or the source fails for good.
	Run(ctx context.Context, apply func(*policy.Set)) error
	// Ready is closed when the source was looked at for the first time: before,
	// everything would look denied.
	Ready() <-chan struct{}
	// State says what was read, and what was refused, and why.
	State() source.State
}

// PolicySource returns the source that spec names, for a backend in dom: a
// directory, or PolicyInStore for what the toolstack has pushed. "" is PolicyDir in
// dom0, and PolicyInStore in a domain that may have no disk.
func PolicySource(spec string, dom *link.Domain, log *slog.Logger) (Rules, error) {
	if spec == PolicyInStore || spec == "" && dom.ID() != 0 {
		// Relative to this domain's home: it has another id after a resume.
		home := path.Dir(path.Dir(toolstack.PolicyPath(dom.ID()))) + "/"
		return source.NewStore(dom.Store, strings.TrimPrefix(toolstack.PolicyVersionPath(dom.ID()), home),
			func(ctx context.Context) ([]string, string, error) {
				return toolstack.ReadPolicy(ctx, dom.Store, dom.ID())
			}, log), nil
	}
	return source.NewDir(cmp.Or(spec, PolicyDir), log)
}
