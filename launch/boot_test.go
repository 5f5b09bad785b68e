package launch

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	pid1 "xvsock/init"
	"xvsock/sim"
	"xvsock/toolstack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheToolstackReadsWhatPID1Tells(t *testing.T) {
	h := sim.NewTest(t)
	web := h.Create(sim.DomainConfig{Name: "web"})
	store := web.NewProcess().Xenstore()
	defer store.Close()
	tell := &teller{log: slog.New(slog.DiscardHandler)}
	tell.tell(pid1.TellState, "booting")
	tell.tell(pid1.TellProblem, `command line: xvsock.nme="x": unknown key`)
	tell.open(store)
	tell.tell(pid1.TellProblem, "xenstore: more than 256 values")
	tell.tell(pid1.TellFailure, "boot: link: no gntalloc")
	tell.tell(pid1.TellState, "failed")
	tools := h.Domain(0).NewProcess().Xenstore()
	defer tools.Close()
	got, err := toolstack.ReadBoot(t.Context(), tools, web.ID())
	if err != nil {
		t.Fatal(err)
	}
	want := toolstack.Boot{
		State: "failed", Failure: "boot: link: no gntalloc",
		Problems: []string{`command line: xvsock.nme="x": unknown key`, "xenstore: more than 256 values"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the toolstack reads (-want +got):\n%s", diff)
	}
}

func TestAfterAResumeItIsToldAgain(t *testing.T) {
	h := sim.NewTest(t)
	web := h.Create(sim.DomainConfig{Name: "web"})
	store := web.NewProcess().Xenstore()
	defer store.Close()
	tell := &teller{log: slog.New(slog.DiscardHandler)}
	tell.open(store)
	tell.tell(pid1.TellState, "booting")
	tell.tell(pid1.TellState, "ready")
	if err := web.Suspend(); err != nil {
		t.Fatal(err)
	}
	if err := web.Resume(); err != nil {
		t.Fatal(err)
	}
	tell.again()
	tools := h.Domain(0).NewProcess().Xenstore()
	defer tools.Close()
	if got, err := toolstack.ReadBoot(t.Context(), tools, web.ID()); err != nil || got.State != "ready" {
		t.Errorf("the toolstack reads %+v, %v", got, err)
	}
}
