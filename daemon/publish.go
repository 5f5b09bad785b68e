package daemon

import (
	"context"
	"time"

	"xvsock/services/discovery"
)

// publishRetry is how long to wait after a directory did not take what it was
// told.
const publishRetry = 5 * time.Second

// publish keeps a directory up to date with the registry until ctx ends, also
// when the directory refuses for a while: that ends nothing else.
func (d *daemon) publish(ctx context.Context, dial func(context.Context) (discovery.Registrar, error)) {
	d.settle(ctx)
	for ctx.Err() == nil {
		err := discovery.Publish(ctx, d.registry, dial)
		if err == nil {
			return
		}
		d.log.Warn("register with the backend's directory", "error", err, "again_in", publishRetry)
		select {
		case <-time.After(publishRetry):
		case <-ctx.Done():
		}
	}
}

// firstPublish is how long the first word waits for the services to listen.
const firstPublish = time.Second

// settle waits until the services listen, so that the first that others hear of them is
// not that they do not.
func (d *daemon) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstPublish)
	defer cancel()
	// Whatever they are by then, it is told.
	_ = d.serving(ctx)
}
