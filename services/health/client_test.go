package health_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/health"
	"xvsock/services/varlink"
)

// evil returns a client whose peer answers the first call with the text.
func evil(t *testing.T, text string) *health.Client {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		bufio.NewReader(b).ReadString(0)
		io.WriteString(b, text)
	}()
	c := health.NewClient(a, varlink.Limits{})
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClientRefusesHostileAnswers(t *testing.T) {
	bad := func(err error) bool { return errors.Is(err, health.ErrPeer) || errors.Is(err, varlink.ErrMalformed) }
	one := `{"name":"x","port":9,"state":"SERVING"}`
	for why, parameters := range map[string]string{
		"a name of escapes":   `{"services":[{"name":"\u001b[2J","port":9,"state":"SERVING"}]}`,
		"no port":             `{"services":[{"name":"x","state":"SERVING"}]}`,
		"a state that is no":  `{"services":[{"name":"x","port":9,"state":"\u001b"}]}`,
		"an unknown state":    `{"services":[{"name":"x","port":9,"state":"SERVICE_UNKNOWN"}]}`,
		"too many":            `{"services":[` + one + strings.Repeat(","+one, services.MaxServices) + `]}`,
		"names in two cases":  `{"services":[{"name":"x","Name":"y","port":9,"state":"SERVING"}]}`,
		"text for the list":   `{"services":"x"}`,
		"numbers for a state": `{"services":[{"name":"x","port":9,"state":1}]}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			if l, err := evil(t, `{"parameters":`+parameters+"}\x00").List(t.Context()); !bad(err) || l != nil {
				t.Errorf("%s: List = %v, %v", why, l, err)
			}
		})
	}
	for why, parameters := range map[string]string{
		"a state of escapes":  `{"state":"\u001b"}`,
		"no state":            `{}`,
		"null":                `{"state":null}`,
		"a domain not known":  `{"state":"SERVICE_UNKNOWN"}`,
		"a state of another":  `{"state":"serving"}`,
		"State beside state":  `{"state":"SERVING","State":"NOT_SERVING"}`,
		"an object for state": `{"state":{}}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			if s, err := evil(t, `{"parameters":`+parameters+"}\x00").Check(t.Context(), ""); !bad(err) || s != "" {
				t.Errorf("%s: Check = %q, %v", why, s, err)
			}
			for s, err := range evil(t, `{"parameters":`+parameters+`,"continues":true}`+"\x00").Watch(t.Context(), "") {
				if !bad(err) || s != "" {
					t.Errorf("%s: Watch = %q, %v", why, s, err)
				}
			}
		})
	}
}

func TestClientDoesNotWaitForASilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		go io.Copy(io.Discard, b)
		began := time.Now()
		_, err := health.NewClient(a, varlink.Limits{}).Check(t.Context(), "")
		if err == nil || time.Since(began) != 10*time.Second {
			t.Errorf("Check = %v after %v; want an error after 10 s", err, time.Since(began))
		}
	})
}
