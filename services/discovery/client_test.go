package discovery_test

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
	"xvsock/services/discovery"
	"xvsock/services/varlink"
)

// evil returns a client whose peer answers the first call with the text, over
// and over if endless.
func evil(t *testing.T, c discovery.ClientConfig, text string, endless bool) *discovery.Client {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		bufio.NewReader(b).ReadString(0)
		for {
			if _, err := io.WriteString(b, text); err != nil || !endless {
				return
			}
		}
	}()
	client := discovery.NewClient(a, c)
	t.Cleanup(func() { client.Close() })
	return client
}

func listReply(records string) string {
	return `{"parameters":{"revision":1,"services":[` + records + `]}}` + "\x00"
}

const honest = `{"domain":"d","uuid":"u","name":"x","port":9,"state":"SERVING"}`

func TestClientRefusesHostileLists(t *testing.T) {
	for why, text := range map[string]string{
		"a name of escapes":            listReply(`{"domain":"d","uuid":"u","name":"\u001b[2J","port":9,"state":"SERVING"}`),
		"a domain of escapes":          listReply(`{"domain":"\u001b","uuid":"u","name":"x","port":9,"state":"SERVING"}`),
		"a domain right to left":       listReply(`{"domain":"\u202e","uuid":"u","name":"x","port":9,"state":"SERVING"}`),
		"a long domain":                listReply(`{"domain":"` + strings.Repeat("d", 256) + `","uuid":"u","name":"x","port":9,"state":"SERVING"}`),
		"a uuid with a newline":        listReply(`{"domain":"d","uuid":"\n","name":"x","port":9,"state":"SERVING"}`),
		"no port":                      listReply(`{"domain":"d","uuid":"u","name":"x","state":"SERVING"}`),
		"echo on another port":         listReply(`{"domain":"d","uuid":"u","name":"echo","port":9,"state":"SERVING"}`),
		"a negative port":              listReply(`{"domain":"d","uuid":"u","name":"x","port":-1,"state":"SERVING"}`),
		"a state that is none":         listReply(`{"domain":"d","uuid":"u","name":"x","port":9,"state":"\u001b"}`),
		"a txt of escapes":             listReply(`{"domain":"d","uuid":"u","name":"x","port":9,"state":"SERVING","txt":{"k":"\u001b"}}`),
		"names in two cases":           listReply(`{"domain":"d","uuid":"u","name":"x","Name":"y","port":9,"state":"SERVING"}`),
		"more records than a domain's": listReply(honest + strings.Repeat(","+honest, services.MaxServices)),
		"null":                         `{"parameters":{"revision":1,"services":null}}` + "\x00" + "x",
		"no parameters":                `{}` + "\x00",
		"revision of text":             `{"parameters":{"revision":"1","services":[]}}` + "\x00",
	} {
		synctest.Test(t, func(t *testing.T) {
			list, _, err := evil(t, discovery.ClientConfig{}, text, false).List(t.Context(), discovery.Filter{})
			if why == "null" { // an empty list by another spelling
				if err != nil || len(list) > 0 {
					t.Errorf("%s: %v, %v", why, list, err)
				}
				return
			}
			if !errors.Is(err, discovery.ErrPeer) && !errors.Is(err, varlink.ErrMalformed) {
				t.Errorf("%s: List = %v, %v", why, list, err)
			}
		})
	}
}

func TestClientEndsEndlessLists(t *testing.T) {
	for why, text := range map[string]string{
		"of records":  `{"parameters":{"revision":1,"services":[` + honest + `]},"continues":true}` + "\x00",
		"of nothing":  `{"parameters":{"revision":1,"services":[]},"continues":true}` + "\x00",
		"of silences": "",
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			_, _, err := evil(t, discovery.ClientConfig{}, text, text != "").List(t.Context(), discovery.Filter{})
			if err == nil || time.Since(began) > 30*time.Second {
				t.Errorf("%s: List = %v after %v", why, err, time.Since(began))
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		go func() {
			bufio.NewReader(b).ReadString(0)
			for { // a record every 9 s
				if _, err := io.WriteString(b, `{"parameters":{"revision":1,"services":[`+honest+`]},"continues":true}`+"\x00"); err != nil {
					return
				}
				time.Sleep(9 * time.Second)
			}
		}()
		began := time.Now()
		c := discovery.NewClient(a, discovery.ClientConfig{})
		_, _, err := c.List(t.Context(), discovery.Filter{})
		if err == nil || time.Since(began) != 30*time.Second {
			t.Errorf("trickled: List = %v after %v; want an error after 30 s", err, time.Since(began))
		}
		time.Sleep(10 * time.Second)
	})
}

func TestDomainHasNoWordInWhoItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner := domain(5, "db1")
		text := listReply(`{"domain":"Domain-0","uuid":"uuid-dom0","cid":65536,"name":"x","port":9,"state":"SERVING"}`)
		list, _, err := evil(t, discovery.ClientConfig{Owner: &owner}, text, false).List(t.Context(), discovery.Filter{})
		if err != nil || len(list) != 1 || list[0].Domain != "db1" || list[0].UUID != "uuid-db1" || list[0].CID != 5 {
			t.Errorf("List = %+v, %v; want what the link tells", list, err)
		}
	})
}

func TestClientRefusesOtherHostileAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `{"parameters":{"service":` + honest + `}}` + "\x00"
		if r, err := evil(t, discovery.ClientConfig{}, text, false).Resolve(t.Context(), "y", ""); !errors.Is(err, discovery.ErrPeer) {
			t.Errorf("Resolve of another name = %+v, %v", r, err)
		}
		text = `{"parameters":{"state":"\u001b"}}` + "\x00"
		if s, err := evil(t, discovery.ClientConfig{}, text, false).Health(t.Context(), "y", ""); !errors.Is(err, discovery.ErrPeer) {
			t.Errorf("Health = %q, %v", s, err)
		}
		text = `{"parameters":{"vendor":"\u001b","product":"","version":"","url":"","interfaces":[]}}` + "\x00"
		if i, err := evil(t, discovery.ClientConfig{}, text, false).GetInfo(t.Context()); !errors.Is(err, discovery.ErrPeer) {
			t.Errorf("GetInfo = %+v, %v", i, err)
		}
		text = `{"parameters":{"revision":1,"synced":true,"changes":[{"kind":"explode","service":` + honest + `}]},"continues":true}` + "\x00"
		for u, err := range evil(t, discovery.ClientConfig{}, text, true).Watch(t.Context(), 0) {
			if !errors.Is(err, discovery.ErrPeer) {
				t.Errorf("Watch = %+v, %v", u, err)
			}
		}
	})
}

// Whatever a domain answers, what the client takes is safe to show and bounded.
func FuzzClientList(f *testing.F) {
	f.Add([]byte(listReply(honest)))
	f.Add([]byte(listReply(honest + "," + honest)))
	f.Add([]byte(`{"parameters":{"revision":1,"services":[` + honest + `]},"continues":true}` + "\x00" + listReply("")))
	f.Fuzz(func(t *testing.T, answer []byte) {
		list, _, err := evil(t, discovery.ClientConfig{}, string(answer), false).List(t.Context(), discovery.Filter{})
		if err != nil && list != nil || len(list) > services.MaxServices {
			t.Fatalf("%d records with %v", len(list), err)
		}
		for _, r := range list {
			i := services.Info{Name: r.Name, Port: r.Port, Txt: r.Txt}
			if i.Check() != nil || !r.State.Valid() || strings.ContainsAny(r.Domain+r.UUID, "\x00\n\r\x1b\u202e\ufeff") {
				t.Fatalf("accepted %+v", r)
			}
		}
	})
}
