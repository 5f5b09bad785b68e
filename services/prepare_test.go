package services_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
)

// prepared is a service that has to be prepared.
type prepared struct {
	serviceFunc
	prepare func(context.Context) error
	closed  atomic.Int32
}

func (p *prepared) Prepare(ctx context.Context) error { return p.prepare(ctx) }
func (p *prepared) Close() error                      { p.closed.Add(1); return nil }

// memory is a log that can be read while it is written.
type memory struct {
	mu  sync.Mutex
	all []byte
}

func (m *memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, p...)
	return len(p), nil
}

func (m *memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.all)
}

func record() (*slog.Logger, *memory) {
	m := new(memory)
	return slog.New(slog.NewTextHandler(m, nil)), m
}

func TestServiceThatIsNotReadyIsNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := record()
		listened := 0
		s := services.NewSupervisor(services.Config{Log: log, Listen: func(uint32) (net.Listener, error) {
			listened++
			return newPipes(), nil
		}})
		var ready atomic.Bool
		p := &prepared{serviceFunc: wait, prepare: func(context.Context) error {
			if !ready.Load() {
				return errors.New("/kv: no such file")
			}
			return nil
		}}
		if err := s.Add(services.Info{Name: "kv", Port: 1000}, p); err != nil {
			t.Fatal(err)
		}
		stop := supervise(t, s)
		if got := s.Registry().State("kv"); got != services.NotServing || listened != 0 {
			t.Errorf("not ready: %s, %d listeners", got, listened)
		}
		line := regexp.MustCompile(`level=WARN msg="service cannot start" service=kv error="/kv: no such file" again_in=(1[5-9]\d|200)ms times=1\n$`)
		if !line.MatchString(text.String()) {
			t.Errorf("log %q; want one line with service, error and pause", text)
		}
		time.Sleep(time.Second)
		ready.Store(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.Registry().State("kv"); got != services.Serving || listened != 1 {
			t.Errorf("ready: %s, %d listeners", got, listened)
		}
		stop()
		if p.closed.Load() != 1 {
			t.Errorf("Close was called %d times; want once, after the last life", p.closed.Load())
		}
	})
}

func TestPrepareHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		s.Add(services.Info{Name: "kv", Port: 1000}, &prepared{serviceFunc: wait, prepare: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		stop := supervise(t, s)
		time.Sleep(30*time.Second + time.Millisecond)
		synctest.Wait()
		if err := s.Status()[0].Err; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not ready after 30s") {
			t.Errorf("Err = %v; want that it took too long", err)
		}
		stop()
	})
}

func TestServiceThatNeverComesDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := record()
		s := services.NewSupervisor(services.Config{Listen: listenPipes, Log: log})
		s.Add(services.Info{Name: "kv", Port: 1000}, &prepared{prepare: func(context.Context) error { return errors.New("no") }})
		stop := supervise(t, s)
		time.Sleep(time.Hour)
		stop()
		starts, said := int(s.Status()[0].Starts), strings.Count(text.String(), "service cannot start")
		if starts < 700 || said < 60 || said > 66 {
			t.Errorf("%d lines for %d starts in an hour; want one a minute", said, starts)
		}
		total := 0
		for _, m := range regexp.MustCompile(`times=(\d+)`).FindAllStringSubmatch(text.String(), -1) {
			n, _ := strconv.Atoi(m[1])
			total += n
		}
		if starts-total > 17 {
			t.Errorf("the lines speak of %d failures of %d", total, starts)
		}
	})
}
