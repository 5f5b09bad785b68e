package control_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/varlink"
)

func TestAnswersOfAnySizeArrive(t *testing.T) {
	long := strings.Repeat(`\`, 4096) // doubled by JSON
	many := slices.Repeat([]string{long}, 100)
	var list []control.ServiceStatus
	for i := range services.MaxServices {
		list = append(list, control.ServiceStatus{Name: fmt.Sprint("s", i), Port: 9, State: services.NotServing, Error: long})
	}
	for _, c := range []struct {
		name     string
		settings control.Settings
		services []control.ServiceStatus
	}{
		{"nothing", control.Settings{}, nil},
		{"a few", control.Settings{Values: []control.Value{{"mode", []string{"frontend"}, "default"}, {"name", nil, "default"}}, Problems: []string{"p"}},
			[]control.ServiceStatus{{Name: "echo", Port: 7, State: services.Serving, Starts: 1, Since: time.Unix(1e9, 0).UTC()}}},
		{"much", control.Settings{Values: []control.Value{{"a", many, "file"}, {"b", many, "xenstore"}, {"c", []string{"x"}, "file"}}, Problems: many}, list},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, &fake{settings: c.settings, services: c.services})
				client := p.client(t, root(0))
				settings, err := client.Config(t.Context())
				same := cmp.Transformer("empty", func(s []string) string { return strings.Join(s, "\x00") })
				none := cmp.FilterValues(func(a, b []control.Value) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())
				if diff := cmp.Diff(c.settings, settings, same, none); err != nil || diff != "" {
					t.Errorf("Config: %v\n%.1000s", err, diff)
				}
				got, err := client.Services(t.Context())
				if err != nil || !slices.Equal(got, c.services) {
					t.Errorf("Services: %d of %d, %v", len(got), len(c.services), err)
				}
				if c.name != "much" {
					return
				}
				once := varlink.NewClient(p.Dial(t, root(0)), varlink.Limits{})
				for _, m := range []string{control.MethodConfig, control.MethodServices} {
					if err := once.Call(t.Context(), m, nil, nil); !errors.Is(err, &varlink.Error{Name: varlink.ExpectedMore}) {
						t.Errorf("%s without more: %v; want ExpectedMore", m, err)
					}
				}
			})
		})
	}
}

// What the domain tells is fit to be shown, whatever its configuration holds.
func TestTextsArePlain(t *testing.T) {
	evil := "\x00\x1b[2J\u202e\xff\u200b \\ é" + strings.Repeat("\x7f", 5000)
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &fake{
			settings: control.Settings{Values: []control.Value{{evil, []string{evil}, evil}}, Problems: []string{evil}},
			services: []control.ServiceStatus{{Name: "x", Port: 9, State: services.Serving, Error: evil}},
		})
		c := p.client(t, root(0))
		s, err := c.Config(t.Context())
		if err != nil || len(s.Problems) != 1 || !strings.HasPrefix(s.Problems[0], `\x00\x1b[2J\u202e�\u200b \ é\x7f`) ||
			!strings.HasSuffix(s.Problems[0], "...") || len(s.Problems[0]) > 4096 {
			t.Errorf("Config = %.100v, %v", s, err)
		}
		if l, err := c.Services(t.Context()); err != nil || len(l) != 1 {
			t.Errorf("Services = %.100v, %v", l, err)
		}
	})
}

func TestClientRefusesHostileAnswers(t *testing.T) {
	bad := func(err error) bool { return errors.Is(err, control.ErrPeer) || errors.Is(err, varlink.ErrMalformed) }
	one := `{"name":"x","port":9,"state":"SERVING","starts":1,"panics":0}`
	for why, parameters := range map[string]string{
		"an error of escapes":  `{"services":[{"name":"x","port":9,"state":"SERVING","starts":1,"panics":0,"error":"\u001b"}]}`,
		"a name of escapes":    `{"services":[{"name":"\u001b","port":9,"state":"SERVING","starts":1,"panics":0}]}`,
		"a state that is none": `{"services":[{"name":"x","port":9,"state":"SERVICE_UNKNOWN","starts":1,"panics":0}]}`,
		"negative starts":      `{"services":[{"name":"x","port":9,"state":"SERVING","starts":-1,"panics":0}]}`,
		"a time of text":       `{"services":[{"name":"x","port":9,"state":"SERVING","since":"yesterday"}]}`,
		"too many":             `{"services":[` + one + strings.Repeat(","+one, services.MaxServices) + `]}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			if l, err := hostile(t, `{"parameters":`+parameters+"}\x00", false).Services(t.Context()); !bad(err) || l != nil {
				t.Errorf("%s: Services = %v, %v", why, l, err)
			}
		})
	}
	for why, parameters := range map[string]string{
		"a problem of escapes": `{"values":[],"problems":["\u001b"]}`,
		"a key of escapes":     `{"values":[{"key":"\u001b","values":[],"origin":"x"}],"problems":[]}`,
		"a value of escapes":   `{"values":[{"key":"x","values":["\u202e"],"origin":"x"}],"problems":[]}`,
		"an origin of escapes": `{"values":[{"key":"x","values":[],"origin":"\u0085"}],"problems":[]}`,
		"a long problem":       `{"values":[],"problems":["` + strings.Repeat("x", 4097) + `"]}`,
		"too many values":      `{"values":[{"key":"x","values":["` + strings.Repeat(`","`, 4097) + `"],"origin":"x"}],"problems":[]}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			if s, err := hostile(t, `{"parameters":`+parameters+"}\x00", false).Config(t.Context()); !bad(err) || s.Values != nil || s.Problems != nil {
				t.Errorf("%s: Config = %v, %v", why, s, err)
			}
		})
	}
	for why, parameters := range map[string]string{"text": `{"status":"x"}`, "nothing": `{}`, "null": `{"status":null}`, "a list": `{"status":[]}`} {
		synctest.Test(t, func(t *testing.T) {
			if s, err := hostile(t, `{"parameters":`+parameters+"}\x00", false).Status(t.Context()); !bad(err) || s != nil {
				t.Errorf("a status of %s: %s, %v", why, s, err)
			}
		})
	}
}

func TestClientEndsEndlessAnswers(t *testing.T) {
	for why, parameters := range map[string]string{
		"of nothing": `{"values":[],"problems":[],"services":[]}`,
		"of much":    `{"values":[],"problems":["x"],"services":[{"name":"x","port":9,"state":"SERVING","starts":1,"panics":0}]}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			text := `{"parameters":` + parameters + `,"continues":true}` + "\x00"
			if _, err := hostile(t, text, true).Config(t.Context()); !errors.Is(err, control.ErrPeer) {
				t.Errorf("%s: Config = %v", why, err)
			}
			if _, err := hostile(t, text, true).Services(t.Context()); !errors.Is(err, control.ErrPeer) {
				t.Errorf("%s: Services = %v", why, err)
			}
		})
	}
}
