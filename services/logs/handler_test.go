package logs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"xvsock/services/logs"
	"xvsock/services/varlink"
)

// kept returns the lines of a buffer as a client reads them.
func kept(t *testing.T, p *port) (all []logs.Line) {
	for b, err := range p.client(t, 5).Read(t.Context(), logs.Request{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Lines...)
	}
	return all
}

func TestRecordsBecomeLines(t *testing.T) {
	for _, c := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"a message", func(l *slog.Logger) { l.Info("ready") }, "INFO msg=ready"},
		{"attributes", func(l *slog.Logger) { l.Warn("link broken", "peer", 3, "error", errors.New("out of range")) }, `WARN msg="link broken" peer=3 error="out of range"`},
		{"attributes and groups of the logger", func(l *slog.Logger) { l.With("a", 1).WithGroup("g").With("b", 2).Error("x", "c", 3) }, "ERROR msg=x a=1 g.b=2 g.c=3"},
		{"a level between", func(l *slog.Logger) { l.Log(context.Background(), slog.LevelInfo+2, "x") }, "INFO+2 msg=x"},
		{"an attribute called level", func(l *slog.Logger) { l.Info("x", "level", "DEBUG", "time", 1) }, "INFO msg=x level=DEBUG time=1"},
		{"a message of lines", func(l *slog.Logger) { l.Info("a\nlevel=ERROR msg=b") }, `INFO msg="a\nlevel=ERROR msg=b"`},
		{"escapes of a peer", func(l *slog.Logger) { l.Info("x", "name", "\x1b[2J\u202e\xff") }, `INFO msg=x name="\x1b[2J\u202e\xff"`},
		{"escapes in a key", func(l *slog.Logger) { l.Info("x", "\x1b", 1) }, `INFO msg=x "\x1b"=1`},
		{"a DEL, which the text handler lets pass", func(l *slog.Logger) { l.Info("x", "name", "a\x7f") }, `INFO msg=x name=a\x7f`},
		{"below the level", func(l *slog.Logger) { l.Debug("x") }, ""},
		{"no message", func(l *slog.Logger) { l.Info("") }, `INFO msg=""`},
		{"letters of the world", func(l *slog.Logger) { l.Info("é日") }, `INFO msg=é日`},
		{"a long text", func(l *slog.Logger) { l.Info(strings.Repeat("x", 5000)) }, "INFO msg=" + strings.Repeat("x", logs.MaxText-len("msg=...")) + "..."},
		{"a text of the most bytes", func(l *slog.Logger) { l.Info(strings.Repeat("x", logs.MaxText-len("msg="))) }, "INFO msg=" + strings.Repeat("x", logs.MaxText-len("msg="))},
		{"a long text that is cut inside a letter", func(l *slog.Logger) { l.Info(strings.Repeat("é", 5000)) }, "INFO msg=" + strings.Repeat("é", (logs.MaxText-len("msg=..."))/2) + "..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, 0)
				c.log(slog.New(p.buffer.Handler(slog.LevelInfo, time.Now().Add(-1234567*time.Microsecond))))
				got := ""
				for _, l := range kept(t, p) {
					got += l.Level.String() + " " + l.Text
					if l.T != 1.235 || l.Position != 0 {
						t.Errorf("position %d at %v; want 0 at 1.235", l.Position, l.T)
					}
				}
				if got != c.want {
					t.Errorf("line:\n%s\nwant:\n%s", got, c.want)
				}
			})
		})
	}
}

// Beside a console, and with a level that changes.
func TestBesideAConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var console bytes.Buffer
		var level slog.LevelVar
		p := start(t, 0)
		log := slog.New(slog.NewMultiHandler(
			slog.NewTextHandler(&console, &slog.HandlerOptions{Level: slog.LevelWarn}),
			p.buffer.Handler(&level, time.Now()),
		))
		log.Debug("one")
		level.Set(slog.LevelDebug)
		log.Debug("two")
		log.Warn("three")
		lines := kept(t, p)
		if len(lines) != 2 || lines[0].Text != "msg=two" || lines[1].Text != "msg=three" {
			t.Errorf("lines %v", lines)
		}
		if got := console.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, " level=WARN msg=three") {
			t.Errorf("console %q", got)
		}
	})
}

// valuer logs while it is logged.
type valuer struct{ log *slog.Logger }

func (v valuer) LogValue() slog.Value {
	v.log.Info("inner")
	return slog.StringValue("outer")
}

func TestAValueMayLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 0)
		p.log.Info("x", "value", valuer{p.log})
		if l := kept(t, p); len(l) != 2 || l[1].Text != "msg=x value=outer" {
			t.Errorf("lines %v", l)
		}
	})
}

func TestManyMayLogAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 300)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 100 {
					p.log.Info("x")
				}
			})
		}
		all.Wait()
		lines := kept(t, p)
		if len(lines) != 300 {
			t.Fatalf("%d lines are kept", len(lines))
		}
		for i, l := range lines {
			if l.Position != uint64(700+i) {
				t.Fatalf("line %d has position %d", i, l.Position)
			}
		}
	})
}

func TestALineCostsLittle(t *testing.T) {
	b := logs.NewBuffer(64)
	log := slog.New(b.Handler(slog.LevelInfo, time.Now()))
	for range 100 {
		log.Info("link up", "peer", 3)
	}
	if n := testing.AllocsPerRun(200, func() { log.Info("link up", "peer", 3) }); n > 3 {
		t.Errorf("%v allocations a line", n)
	}
}

// Whatever is logged comes out as a short line that is fit to be shown.
func FuzzHandler(f *testing.F) {
	f.Add("ready", "key", "value")
	f.Add("\x7f\x1b", "\n", strings.Repeat("é", 2000))
	f.Fuzz(func(t *testing.T, message, key, value string) {
		p := start(t, 4)
		p.log.Info(message, key, value)
		c := logs.NewClient(p.Raw(guest(5)), varlink.Limits{})
		defer c.Close()
		n := 0
		for b, err := range c.Read(t.Context(), logs.Request{}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range b.Lines {
				n++
				bad := strings.ContainsFunc(l.Text, func(r rune) bool { return !unicode.IsPrint(r) })
				if bad || !utf8.ValidString(l.Text) || len(l.Text) > logs.MaxText || !strings.HasPrefix(l.Text, "msg=") {
					t.Fatalf("line %q", l.Text)
				}
			}
		}
		if n != 1 {
			t.Fatalf("%d lines", n)
		}
	})
}
