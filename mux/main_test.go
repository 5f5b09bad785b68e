package mux

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(suites{m}) }

// suites runs the tests over ends that are never hot, so that the pump does all, and
// twice more, beside that, over hot ones, so that a Read or Write that waits does: as
// this machine is, and on one processor, where who waits gives way in other ways.
type suites struct{ *testing.M }

// Run implements goleak.TestingM.
func (s suites) Run() int {
	flag.Parse()
	if !again() {
		return s.M.Run()
	}
	var both sync.WaitGroup
	hot, alone := repeat("hot"), repeat("hot, one processor", "GOMAXPROCS=1")
	both.Go(hot.run)
	both.Go(alone.run)
	code := s.M.Run()
	both.Wait()
	return max(code, hot.report(), alone.report())
}

// again says whether this run is to be repeated: it is for the tests, and no repetition
// itself.
func again() bool {
	once := os.Getenv(hotLooks) != ""
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "test.bench", "test.fuzz", "test.list", "test.cpuprofile", "test.memprofile", "test.trace":
			once = once || f.Value.String() != ""
		}
	})
	return !once
}

// repetition is a run of the same tests over hot ends, in a process of its own.
type repetition struct {
	name string
	env  []string
	out  []byte
	err  error
}

func repeat(name string, env ...string) *repetition {
	return &repetition{name: name, env: append(env, hotLooks+"=50")}
}

func (r *repetition) run() {
	cmd := exec.Command(os.Args[0], args()...)
	cmd.Env = append(os.Environ(), r.env...)
	r.out, r.err = cmd.CombinedOutput()
}

// report prints what is worth it and returns the exit code.
func (r *repetition) report() int {
	if r.err == nil && !testing.Verbose() {
		return 0
	}
	for line := range bytes.Lines(r.out) {
		fmt.Printf("%s: %s", r.name, line)
	}
	if r.err == nil {
		return 0
	}
	fmt.Printf("%s: %v; to repeat it: %s go test\n", r.name, r.err, strings.Join(r.env, " "))
	return 1
}

// args are the flags of this run that say which tests to run and how.
func args() []string {
	var list []string
	flag.Visit(func(f *flag.Flag) {
		v := f.Value.String()
		switch name := strings.TrimPrefix(f.Name, "test."); name {
		case "run", "skip", "short", "count", "failfast", "shuffle", "parallel", "timeout":
		case "v":
			v = "true" // and not test2json: this is not its process
		default:
			if !strings.HasPrefix(name, "rapid.") {
				return
			}
		}
		list = append(list, "-"+f.Name+"="+v)
	})
	return list
}
