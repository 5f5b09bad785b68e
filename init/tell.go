package pid1

// TellKind is what a line for the toolstack is about.
type TellKind int

const (
	// TellState is how far the domain is.
	TellState TellKind = iota
	// TellProblem is one thing wrong with the settings.
	TellProblem
	// TellFailure is why the domain cannot go on.
	TellFailure
)

// Tell passes on what PID 1 has to say to the toolstack: one line, which may hold
// any bytes of a setting or an error only in escaped form. Calls come one after
// the other, in order, on a goroutine that the boot does not wait for; one that
// does not return keeps all later ones away.
type Tell func(kind TellKind, text string)

// report tells the toolstack, if there is a way.
func (in *Init) report(kind TellKind, text string) {
	if in.o.Tell != nil {
		in.o.Tell(kind, oneLine(text))
	}
}
