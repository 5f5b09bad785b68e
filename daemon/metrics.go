package daemon

import (
	"strconv"

	"xvsock/services"
	"xvsock/services/metrics"
)

// collect writes what port 5 says of this domain.
func (d *daemon) collect(r role, w *metrics.Writer) {
	s := d.statusOf(r)
	w.Gauge("xvsock_info", "What this daemon is.").Sample(1, "role", s.Role, "version", s.Version)
	w.Gauge("xvsock_xenstore_watches", "Watches that are set in xenstore.").Sample(float64(s.Watches))
	up := w.Gauge("xvsock_link_up", "Whether the link to a domain is up.")
	connections := w.Gauge("xvsock_link_connections", "Open connections over a link.")
	pages := w.Gauge("xvsock_link_granted_pages", "Pages that this side has granted for a link.")
	for _, l := range s.Links {
		labels := []string{"domain", whole(l.Domain), "name", l.Name, "kind", l.Kind}
		up.Sample(truth(l.Up), labels...)
		connections.Sample(float64(l.Connections), labels...)
		pages.Sample(float64(l.Pages), labels...)
	}
	d.collectWork(w)
	d.collectServices(w)
	collectPolicy(w, s)
	metrics.Runtime(w, d.started)
}

// collectWork writes what this side has done for each link that is up.
func (d *daemon) collectWork(w *metrics.Writer) {
	work := w.Counter("xvsock_link_work_total", "What this side has done for a link: hypercalls that copy, their segments, events sent, waits.")
	for _, p := range d.stack.Peers() {
		n := p.Counts
		for _, of := range []struct {
			name string
			n    uint64
		}{
			{"copies", n.Copies}, {"segments", n.Segments}, {"notifies", n.Notifies},
			{"polls", n.Polls}, {"naps", n.Naps}, {"sleeps", n.Sleeps},
		} {
			work.Sample(float64(of.n), "domain", whole(uint16(p.Domain)), "work", of.name)
		}
	}
}

// collectServices writes how the services fare.
func (d *daemon) collectServices(w *metrics.Writer) {
	serving := w.Gauge("xvsock_service_serving", "Whether a service takes connections.")
	starts := w.Counter("xvsock_service_starts_total", "How often a service was started.")
	panics := w.Counter("xvsock_service_panics_total", "How often a service or one of its connections panicked.")
	open := w.Gauge("xvsock_service_connections", "Open connections of a service.")
	served := w.Counter("xvsock_service_served_total", "Connections that a service took.")
	refused := w.Counter("xvsock_service_refused_total", "Connections that a service closed unserved.")
	for _, s := range d.supervisor.Status() {
		labels := []string{"service", s.Name, "port", whole(s.Port)}
		serving.Sample(truth(s.State == services.Serving), labels...)
		starts.Sample(float64(s.Starts), labels...)
		panics.Sample(float64(s.Panics), labels...)
		open.Sample(float64(s.Open), labels...)
		served.Sample(float64(s.Served), labels...)
		refused.Sample(float64(s.Refused), labels...)
	}
}

// collectPolicy writes what a backend's policy has come to.
func collectPolicy(w *metrics.Writer, s Status) {
	if s.Policy == nil {
		return
	}
	w.Gauge("xvsock_policy_rules", "Rules in force.").Sample(float64(s.Policy.Rules))
	w.Gauge("xvsock_policy_unconfirmed", "Frontends that have not confirmed the rules yet.").Sample(float64(s.Policy.Unconfirmed))
	w.Gauge("xvsock_policy_refused", "Whether the newest set of rules was refused.").Sample(truth(s.Policy.Error != ""))
	denied := w.Counter("xvsock_requests_denied_total", "Requests for a link that policy denied.")
	delayed := w.Counter("xvsock_requests_delayed_total", "Requests for a link that waited for their turn.")
	late := w.Counter("xvsock_answers_late_total", "Answers that nobody waited for any more.")
	for _, l := range s.Links {
		if l.Use == nil {
			continue
		}
		labels := []string{"domain", whole(l.Domain), "name", l.Name}
		denied.Sample(float64(l.Use.Denied), labels...)
		delayed.Sample(float64(l.Use.Delayed), labels...)
		late.Sample(float64(l.Use.Late), labels...)
	}
}

// whole is a whole number as a label.
func whole[T ~uint16 | ~uint32](n T) string { return strconv.FormatUint(uint64(n), 10) }

// truth is a condition as a metric.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
