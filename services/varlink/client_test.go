package varlink_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services/varlink"
)

// answering returns a client whose peer answers every call with the text, and
// closes if the text ends with the word close.
func answering(t *testing.T, text string) *varlink.Client {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		r := bufio.NewReader(b)
		for {
			if _, err := r.ReadString(0); err != nil {
				return
			}
			body, last := strings.CutSuffix(text, "close")
			if _, err := io.WriteString(b, body); err != nil || last {
				return
			}
		}
	}()
	c := varlink.NewClient(a, varlink.Limits{})
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClientAgainstServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{}, methods())
		c := varlink.NewClient(conn, varlink.Limits{})
		var out struct {
			Text string `json:"text"`
		}
		if err := c.Call(t.Context(), "org.example.Echo", map[string]string{"text": "hi"}, &out); err != nil || out.Text != "hi" {
			t.Errorf("Call = %q, %v", out.Text, err)
		}
		err := c.Call(t.Context(), "org.example.Nothing", nil, nil)
		if !errors.Is(err, &varlink.Error{Name: varlink.MethodNotFound}) {
			t.Errorf("unknown method: %v", err)
		}
		n := 0
		for raw, err := range c.Stream(t.Context(), "org.example.Count", nil) {
			if err != nil || len(raw) == 0 {
				t.Errorf("Stream: %s, %v", raw, err)
			}
			n++
		}
		if n != 4 {
			t.Errorf("Stream gave %d replies; want 4", n)
		}
		if err := c.Call(t.Context(), "org.example.Huge", strings.Repeat("x", 70<<10), nil); !errors.Is(err, varlink.ErrTooLarge) {
			t.Errorf("a call too large: %v", err)
		}
		if err := c.Call(t.Context(), "org.example.None", nil, nil); err != nil {
			t.Errorf("the call after: %v", err)
		}
		for range c.Stream(t.Context(), "org.example.Wait", nil) {
			break
		}
		if err := c.Call(t.Context(), "org.example.None", nil, nil); !errors.Is(err, varlink.ErrBroken) {
			t.Errorf("a call after a stream that was left: %v", err)
		}
		<-ended
	})
}

func TestClientRefusesHostileReplies(t *testing.T) {
	for why, text := range map[string]string{
		"garbage":                   "hello\x00",
		"the wrong end":             "{\"parameters\":{}}\n",
		"nothing":                   "close",
		"half a reply":              `{"parameters":close`,
		"Parameters for parameters": `{"Parameters":{"text":"x"}}` + "\x00",
		"parameters twice":          `{"parameters":{},"parameters":{}}` + "\x00",
		"an unknown member":         `{"parameters":{},"upgraded":true}` + "\x00",
		"a result in capitals":      `{"parameters":{"TEXT":"x"}}` + "\x00",
		"a result of another type":  `{"parameters":{"text":[]}}` + "\x00",
		"parameters of a list":      `{"parameters":[]}` + "\x00",
		"an error of escapes":       `{"error":"a.\u001b[31m"}` + "\x00",
		"an error that continues":   `{"error":"a.b","continues":true}` + "\x00",
		"a stream for a call":       `{"parameters":{},"continues":true}` + "\x00",
		"a megabyte":                strings.Repeat("x", 1<<20),
		"silence":                   "",
		"half and then silence":     `{"parameters":`,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := answering(t, text)
			var out struct {
				Text string `json:"text"`
			}
			began := time.Now()
			err := c.Call(t.Context(), "org.example.Echo", nil, &out)
			var reply *varlink.Error
			if err == nil || errors.As(err, &reply) {
				t.Errorf("%s: Call = %v, %q", why, err, out.Text)
			}
			if d := time.Since(began); d > time.Minute {
				t.Errorf("%s: took %v", why, d)
			}
			if err := c.Call(t.Context(), "org.example.Echo", nil, nil); !errors.Is(err, varlink.ErrBroken) {
				t.Errorf("%s: the next call: %v; want ErrBroken", why, err)
			}
		})
	}
}

func TestClientRefusesAListThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := answering(t, `{"parameters":[]}`+"\x00")
		if err := c.Call(t.Context(), "org.example.Echo", nil, nil); !errors.Is(err, varlink.ErrMalformed) {
			t.Errorf("Call = %v; want ErrMalformed", err)
		}
	})
}

func TestClientQuotesWhatAnErrorSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := answering(t, `{"error":"org.example.Failed","parameters":{"text":"\\x1b`+"\u202e"+`"}}`+"\x00")
		err := c.Call(t.Context(), "org.example.Echo", nil, nil)
		if err == nil || strings.ContainsRune(err.Error(), '\u202e') {
			t.Errorf("error text %v", err)
		}
	})
}

func TestCanceledCallEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := answering(t, "")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := c.Call(ctx, "org.example.Echo", nil, nil)
		if err == nil || time.Since(began) != 3*time.Second {
			t.Errorf("Call = %v after %v; want an error after 3 s", err, time.Since(began))
		}
		if err := c.Call(t.Context(), "org.example.Echo", nil, nil); !errors.Is(err, varlink.ErrBroken) {
			t.Errorf("the next call: %v; want ErrBroken", err)
		}
	})
}

func FuzzClient(f *testing.F) {
	f.Add([]byte(`{"parameters":{"text":"x"}}` + "\x00"))
	f.Add([]byte(`{"error":"a.b","parameters":{}}` + "\x00"))
	f.Add([]byte(`{"continues":true}` + "\x00" + `{}` + "\x00"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		a, b := net.Pipe()
		go func() {
			bufio.NewReader(b).ReadString(0)
			b.Write(answer)
			b.Close()
		}()
		c := varlink.NewClient(a, varlink.Limits{})
		defer c.Close()
		last := false
		for raw, err := range c.Stream(t.Context(), "org.example.Count", nil) {
			if last {
				t.Fatal("a reply after the error")
			}
			last = err != nil
			if err == nil && len(raw) > 64<<10 {
				t.Fatalf("%d bytes", len(raw))
			}
		}
	})
}
