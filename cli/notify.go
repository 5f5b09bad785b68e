package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the service manager that started this process how far it is, by
// the protocol of sd_notify(3). Without a service manager it tells nobody.
//
//	starting --ready()--> ready --the context ends--> stopping
type notifier struct {
	send func(state string) error
	log  *slog.Logger
}

// newNotifier returns the notifier of a daemon that ends when ctx does.
func newNotifier(ctx context.Context, log *slog.Logger) *notifier {
	n := &notifier{log: log, send: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}
	context.AfterFunc(ctx, func() { n.tell(daemon.SdNotifyStopping, "ending connections and links") })
	return n
}

// ready says that the daemon serves.
func (n *notifier) ready(format string, args ...any) {
	n.tell(daemon.SdNotifyReady, fmt.Sprintf(format, args...))
}

// tell sends a state, and the line that `systemctl status` shows. Printable text has
// no newline, which would begin another variable of the protocol.
func (n *notifier) tell(state, status string) {
	if err := n.send(state + "\nSTATUS=" + printable(status)); err != nil {
		n.log.Warn("tell the service manager", "error", err)
	}
}
