// Package metrics is the service on port 5: numbers about the domain, as text of the
// Prometheus exposition format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
//
// A caller that sends an HTTP GET is answered by HTTP, so that Prometheus can scrape
// through a proxy or a forwarded port; one that ends its sending, or sends nothing
// for a second, gets the bare text. A connection is for one answer. The numbers
// come from a function of the daemon (Config.Collect), which writes them to a Writer.
package metrics
