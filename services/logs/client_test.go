package logs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"xvsock/services/logs"
	"xvsock/services/varlink"
)

// evil returns a client whose peer answers the first call with what text returns, one
// after the other, until that is empty.
func evil(t testing.TB, text func(reply int) string) *logs.Client {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		bufio.NewReader(b).ReadString(0)
		for i := 0; ; i++ {
			s := text(i)
			if _, err := io.WriteString(b, s); err != nil || s == "" {
				return
			}
		}
	}()
	c := logs.NewClient(a, varlink.Limits{})
	t.Cleanup(func() { c.Close() })
	return c
}

// replies returns them in turn.
func replies(texts ...string) func(int) string {
	return func(i int) string {
		if i >= len(texts) {
			return ""
		}
		return texts[i]
	}
}

func part(position, lost int, lines string) string {
	return fmt.Sprintf(`{"parameters":{"position":%d,"lost":%d,"lines":[%s]},"continues":true}`+"\x00", position, lost, lines)
}

func last(parameters string) string { return `{"parameters":` + parameters + "}\x00" }

func TestClientRefusesHostileAnswers(t *testing.T) {
	one := `{"position":0,"t":1,"level":"INFO","text":"x"}`
	for _, c := range []struct {
		name    string
		request logs.Request
		answer  func(int) string
	}{
		{"a text of escapes", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":"INFO","text":"\u001b[2J"}]}`))},
		{"a text right to left", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":"INFO","text":"\u202e"}]}`))},
		{"a DEL", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":"INFO","text":"` + "\x7f" + `"}]}`))},
		{"a long text", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":"INFO","text":"` + strings.Repeat("x", 1001) + `"}]}`))},
		{"a level that is none", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":"\u001b","text":"x"}]}`))},
		{"a level of a number", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":8,"text":"x"}]}`))},
		{"a long level", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":"INFO+100000000","text":"x"}]}`))},
		{"a time before the start", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":-1,"level":"INFO","text":"x"}]}`))},
		{"a time after the end", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1e300,"level":"INFO","text":"x"}]}`))},
		{"a line beyond the position", logs.Request{}, replies(last(`{"position":0,"lost":0,"lines":[` + one + `]}`))},
		{"a line twice", logs.Request{}, replies(last(`{"position":1,"lost":0,"lines":[` + one + `,` + one + `]}`))},
		{"a line again in a later reply", logs.Request{}, replies(part(1, 0, one), part(2, 0, one))},
		{"a position that goes back", logs.Request{}, replies(part(9, 0, one), part(5, 1, ""))},
		{"more lines than the limit", logs.Request{Limit: 1}, replies(part(1, 0, one), part(2, 0, strings.Replace(one, "0", "1", 1)))},
		{"a negative position", logs.Request{}, replies(last(`{"position":-1,"lost":0,"lines":[]}`))},
		{"no parameters", logs.Request{}, replies("{}\x00")},
		{"a second empty reply", logs.Request{Follow: true}, replies(part(0, 0, ""), part(1, 0, ""))},
		{"endless empty replies", logs.Request{Follow: true}, func(int) string { return part(0, 0, "") }},
		{"endless lines", logs.Request{}, func(i int) string {
			const n = 500
			lines := make([]string, n)
			for j := range lines {
				lines[j] = fmt.Sprintf(`{"position":%d,"t":1,"level":"INFO","text":"x"}`, n*i+j)
			}
			return part(n*(i+1), 0, strings.Join(lines, ","))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var end error
				for b, err := range evil(t, c.answer).Read(t.Context(), c.request) {
					if end = err; err != nil && b.Lines != nil {
						t.Errorf("%v with lines %v", err, b.Lines)
					}
				}
				if !errors.Is(end, logs.ErrPeer) && !errors.Is(end, varlink.ErrMalformed) {
					t.Errorf("ended with %v", end)
				}
			})
		})
	}
}

func TestClientDoesNotWaitForASlowPeer(t *testing.T) {
	for _, c := range []struct {
		name   string
		follow bool
		answer func(int) string
		want   time.Duration
	}{
		{"silence", false, func(int) string { time.Sleep(time.Hour); return "" }, 30 * time.Second},
		{"silence to a follower", true, func(int) string { time.Sleep(time.Hour); return "" }, 10 * time.Second},
		{"a trickle", false, func(i int) string {
			time.Sleep(9 * time.Second)
			return part(i+1, 0, fmt.Sprintf(`{"position":%d,"t":1,"level":"INFO","text":"x"}`, i))
		}, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var end error
			for _, err := range evil(t, c.answer).Read(t.Context(), logs.Request{Follow: c.follow}) {
				end = err
			}
			if end == nil || time.Since(began) != c.want {
				t.Errorf("%s: %v after %v; want an error after %v", c.name, end, time.Since(began), c.want)
			}
			time.Sleep(2 * time.Hour)
		})
	}
}

// Whatever a domain answers, what the client yields is safe to show and in order.
func FuzzClient(f *testing.F) {
	f.Add([]byte(last(`{"position":1,"lost":0,"lines":[{"position":0,"t":1,"level":"INFO","text":"x"}]}`)))
	f.Add([]byte(part(1, 0, `{"position":0,"t":1,"level":"WARN+1","text":"x"}`) + last(`{"position":9,"lost":8,"lines":[]}`)))
	f.Fuzz(func(t *testing.T, answer []byte) {
		position := uint64(0)
		for b, err := range evil(t, replies(string(answer))).Read(t.Context(), logs.Request{}) {
			if err != nil {
				return
			}
			for _, l := range b.Lines {
				if l.Position < position || strings.ContainsFunc(l.Text, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Fatalf("accepted %+v", l)
				}
				position = l.Position + 1
			}
		}
	})
}
