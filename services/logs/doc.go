// Package logs is the service on port 6: the domain's log, as far as memory keeps it.
//
// A Buffer keeps the last records. It is filled by an slog.Handler beside the one that
// writes to the console, to which slog.NewMultiHandler joins it:
//
//	log := slog.New(slog.NewMultiHandler(console, buffer.Handler(&level, start)))
//
// Messages are those of package varlink; the interface is described by the text
// Interface. A reader is no more than a position that it asks from: there is no queue
// for one, so that no reader holds up the log. One that is too slow is told how many
// lines it has lost.
package logs
