package daemon

import (
	"fmt"

	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/discovery"
	"xvsock/services/health"
	"xvsock/services/logs"
	"xvsock/services/metrics"
)

// addServices makes the services of the domain: those that every domain has, which
// are there for the toolstack and for whomever policy lets reach them, and those
// that it was told to run.
func (d *daemon) addServices(r role, dir discovery.Directory) error {
	identify := callerOf(r.who)
	always := []struct {
		port    uint32
		service services.Service
	}{
		{services.PortDiscovery, discovery.NewServer(discovery.Config{
			Directory: dir, Identify: identify, Info: d.info(), Log: d.log,
		})},
		{services.PortHealth, health.NewServer(health.Config{
			Registry: d.registry, Identify: identify, Info: d.info(), Log: d.log,
			Visible: func(c services.Caller, e services.Entry) bool { return r.sees(c, e.Port) },
		})},
		{services.PortControl, control.NewServer(control.Config{
			Methods: (&orders{daemon: d, role: r}).methods(), Allow: r.commands,
			Identify: identify, Info: d.info(), Log: d.log,
		})},
		{services.PortMetrics, metrics.NewServer(metrics.Config{
			Collect: func(w *metrics.Writer) { d.collect(r, w) }, Identify: identify, Log: d.log,
		})},
		{services.PortLog, logs.NewServer(logs.Config{
			Buffer: d.cfg.Logs, Identify: identify, Info: d.info(), Log: d.log,
		})},
	}
	for _, a := range always {
		info := services.Info{Name: services.WellKnown(a.port), Port: a.port}
		if err := d.supervisor.Add(info, a.service); err != nil {
			return fmt.Errorf("service %s: %w", info.Name, err)
		}
	}
	for _, o := range d.cfg.Services {
		if err := d.supervisor.Add(o.Info, o.New(identify, d.log)); err != nil {
			return fmt.Errorf("service %s: %w", o.Info.Name, err)
		}
	}
	return nil
}
