package bench_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"xvsock/bench"
)

func TestAPlanThatMakesNoSenseIsRefused(t *testing.T) {
	good := bench.Plan{Case: bench.Many, Size: 64, Time: time.Second, Conns: 10, Bulk: 10}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*bench.Plan)
		want   string
	}{
		"no case":                      {func(p *bench.Plan) { p.Case = "" }, `no case ""`},
		"a case that is not":           {func(p *bench.Plan) { p.Case = "\x1b[2J" }, `no case "\x1b[2J"`},
		"no size":                      {func(p *bench.Plan) { p.Size = 0 }, "size 0: use 1 to 1048576"},
		"too large a message":          {func(p *bench.Plan) { p.Size = bench.MaxSize + 1 }, "size 1048577"},
		"neither time nor count":       {func(p *bench.Plan) { p.Time = 0 }, "time 0s"},
		"a time before now":            {func(p *bench.Plan) { p.Time = -time.Second }, "time -1s"},
		"too long a time":              {func(p *bench.Plan) { p.Time = bench.MaxTime + 1 }, "time 10m0.000000001s: use 1ms to 10m0s"},
		"too large a count":            {func(p *bench.Plan) { p.Count = bench.MaxCount + 1 }, "count 1099511627777"},
		"fewer connections than none":  {func(p *bench.Plan) { p.Conns = -1 }, "-1 connections"},
		"too many connections":         {func(p *bench.Plan) { p.Conns = bench.MaxConns + 1 }, "2001 connections"},
		"fewer streams than none":      {func(p *bench.Plan) { p.Bulk = -1 }, "-1 streams"},
		"more streams than there are":  {func(p *bench.Plan) { p.Bulk = 11 }, "11 streams of 10 connections"},
		"too many of both":             {func(p *bench.Plan) { p.Case, p.Conns, p.Bulk = bench.RoundTrip, 1000, 1001 }, "1000 connections and 1001 streams"},
		"streams beside a stream":      {func(p *bench.Plan) { p.Case = bench.Stream }, "beside rr and many only"},
		"streams beside connections":   {func(p *bench.Plan) { p.Case, p.Conns = bench.Connect, 1 }, "beside rr and many only"},
		"connections at the same time": {func(p *bench.Plan) { p.Case, p.Bulk = bench.Connect, 0 }, "one after the other"},
		"no lot":                       {func(p *bench.Plan) { p.Lot = -1 }, "lot -1"},
		"too large a lot":              {func(p *bench.Plan) { p.Lot = bench.MaxLot + 1 }, "lot 65537"},
		"a lot that a listener has no room for": {func(p *bench.Plan) { *p = bench.Plan{Case: bench.Connect, Count: 1, Lot: 32} },
			"use at most 31"},
	} {
		p := good
		c.change(&p)
		err := p.Check()
		if !errors.Is(err, bench.ErrPlan) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if _, run := bench.Run(t.Context(), nil, p, nil); !errors.Is(run, bench.ErrPlan) {
			t.Errorf("%s: it runs: %v", name, run)
		}
	}
}
