package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xvsock/bench"
	"xvsock/vsock"
)

// What --via takes.
const (
	viaDaemon = "daemon"
	viaDoor   = "door"
	viaKernel = "vsock"
)

// allCases stands for all of bench.Cases.
const allCases = "all"

// benchFlags are those of `xvsock bench`.
type benchFlags struct {
	cases []string
	via   string
	time  time.Duration
	plan  bench.Plan // without Case
	door  func() vsock.Door
}

// benchCommand is `xvsock bench`.
func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use: "bench DOMAIN", Short: "Measure connections to a domain", Args: cobra.ExactArgs(1),
		Long: "bench measures connections to the bench service of a domain, which runs there if its\n" +
			"settings have service=bench. DOMAIN may have a port after a colon. The cases are:\n\n" +
			"  rr       round trips of a message, one after the other\n" +
			"  stream   messages one way, as fast as they go, counted where they arrive\n" +
			"  many     many such streams at once, and beside them round trips of 64 bytes\n" +
			"  connect  connections made and closed, one after the other\n\n" +
			"It is the daemon of this domain that connects, so that nothing else is measured than links\n" +
			"and what runs over them; one measurement at a time. With --via door the same is done from\n" +
			"this process through the daemon's unix socket, and with --via vsock through the kernel's\n" +
			"AF_VSOCK, where DOMAIN is a CID.\n\n" +
			"Times are microseconds, MB/s are 10^6 bytes a second. COUNTS are of the process that\n" +
			"connects: for each round trip or connection, or for each MiB of the streams.",
		Example: "  xvsock bench db1\n" +
			"  xvsock bench db1 --case rr --size 1024 --count 100000\n" +
			"  xvsock bench db1 --case many --conns 1000 --bulk 10\n" +
			"  xvsock bench 3 --via vsock --case stream --time 10s -o json",
	}
	output := outputFlag(c)
	f.add(a, c)
	c.RunE = func(c *cobra.Command, args []string) error {
		plans, err := f.plans(c.Flags().Changed("time"))
		if err != nil {
			return &setupError{err}
		}
		run, err := f.runner(a, args[0])
		if err != nil {
			return &setupError{err}
		}
		results := make([]bench.Result, 0, len(plans))
		for _, p := range plans {
			r, err := run(c.Context(), p)
			if err != nil {
				return err
			}
			results = append(results, r)
		}
		return printBench(c, *output, results)
	}
	return c
}

// add defines the flags.
func (f *benchFlags) add(a *app, c *cobra.Command) {
	f.door = a.doorFlag(c)
	c.Flags().StringSliceVar(&f.cases, "case", []string{allCases}, "what to measure: "+bench.CaseNames()+", several with commas, or "+allCases)
	c.Flags().IntVar(&f.plan.Size, "size", 0, fmt.Sprintf("`bytes` of a message, 1 to %d (default 64 of round trips, else 16384)", bench.MaxSize))
	c.Flags().DurationVar(&f.time, "time", 3*time.Second, "how long each case goes on")
	c.Flags().Uint64Var(&f.plan.Count, "count", 0, "how many round trips, connections, or messages of each stream, in place\nof --time, or until then if both are given")
	c.Flags().IntVar(&f.plan.Conns, "conns", 0, "how many connections are open: rr uses one of them, stream and many send\nover all (default 1, of many 10)")
	c.Flags().IntVar(&f.plan.Bulk, "bulk", 0, "how many streams go on beside rr; of many: how many of its connections send\n(default all)")
	c.Flags().IntVar(&f.plan.Lot, "lot", 1, "how many round trips are timed together, where the clock is slow to read")
	c.Flags().BoolVar(&f.plan.Reverse, "reverse", false, "have the other domain send the streams")
	c.Flags().StringVar(&f.via, "via", viaDaemon, viaDaemon+", "+viaDoor+" or "+viaKernel+": the way that is measured")
	completeFlag(c, "case", fixed(append(strings.Split(bench.CaseNames(), ", "), allCases)...))
	completeFlag(c, "via", fixed(viaDaemon, viaDoor, viaKernel))
}

// plans are what the flags ask for.
func (f *benchFlags) plans(timed bool) ([]bench.Plan, error) {
	var plans []bench.Plan
	all := slices.Contains(f.cases, allCases)
	for _, c := range f.cases {
		if c != allCases && !slices.Contains(bench.Cases(), bench.Case(c)) {
			return nil, fmt.Errorf("--case %.40q: use %s or %s", c, bench.CaseNames(), allCases)
		}
	}
	for _, c := range bench.Cases() {
		if !all && !slices.Contains(f.cases, string(c)) {
			continue
		}
		p := f.plan
		p.Case = c
		if p.Count == 0 || timed {
			p.Time = f.time
		}
		fill(&p)
		if err := p.Check(); err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// fill puts in what is usual for a case, and leaves out what means nothing to it.
func fill(p *bench.Plan) {
	if p.Size == 0 {
		p.Size = 16 << 10
		if p.Case == bench.RoundTrip {
			p.Size = 64
		}
	}
	if p.Conns == 0 && p.Case == bench.Many {
		p.Conns = max(10, p.Bulk)
	}
	switch p.Case {
	case bench.Stream:
		p.Bulk = 0
	case bench.Connect:
		p.Size, p.Conns, p.Bulk, p.Lot = 0, 0, 0, min(p.Lot, bench.MaxConnectLot)
	}
}
