package varlink_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"xvsock/services/varlink"
)

type inner struct {
	Port uint16 `json:"port"`
}

type outer struct {
	Name string            `json:"name"`
	In   *inner            `json:"in,omitempty"`
	List []inner           `json:"list"`
	Txt  map[string]string `json:"txt"`
	Any  any               `json:"any"`
	Raw  json.RawMessage   `json:"raw"`
	Flag bool              `json:"flag"`
	skip int
	Not  int `json:"-"`
}

func TestUnmarshalAccepts(t *testing.T) {
	for _, in := range []string{
		`{}`, ` { } `, `{"name":"x"}`, `{"in":{"port":7}}`, `{"in":null}`, `{"list":[{"port":1},{"port":2}]}`, `{"list":null}`,
		`{"txt":{"a":"b","c":"d"}}`, `{"any":{"Name":1,"x":[1,{"y":null}]}}`, `{"raw":{"whatever":[1e999]}}`, `{"name":"\u00e9\n"}`,
		strings.Repeat(`{"any":`, 1) + strings.Repeat(`[`, 15) + strings.Repeat(`]`, 15) + `}`,
	} {
		var v outer
		if err := varlink.Unmarshal([]byte(in), &v); err != nil || v.skip != 0 {
			t.Errorf("Unmarshal(%s) = %v", in, err)
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for why, in := range map[string]string{
		"nothing":                        ``,
		"blanks":                         ` `,
		"half an object":                 `{"name":`,
		"trailing garbage":               `{} x`,
		"a second object":                `{}{}`,
		"broken UTF-8":                   "{\"name\":\"\xff\"}",
		"a raw newline in a text":        "{\"name\":\"a\nb\"}",
		"the same name twice":            `{"name":"a","name":"b"}`,
		"names that differ by case":      `{"any":{"a":1,"A":2}}`,
		"names that differ by case, raw": `{"raw":{"a":1,"A":2}}`,
		"names that fold to one":         `{"any":{"k":1,"` + "\u212a" + `":2}}`,
		"the same name by an escape":     `{"name":"a","n\u0061me":"b"}`,
		"a name in capitals":             `{"Name":"a"}`,
		"a long s for an s":              `{"li` + "\u017f" + `t":[]}`,
		"a nested name in capitals":      `{"in":{"PORT":1}}`,
		"a nested name twice":            `{"list":[{"port":1,"port":2}]}`,
		"a map's name twice":             `{"txt":{"a":"1","a":"2"}}`,
		"an unknown name":                `{"other":1}`,
		"a nested unknown name":          `{"in":{"other":1}}`,
		"a name that is not exported":    `{"skip":1}`,
		"a name that is left out":        `{"Not":1}`,
		"the wrong type":                 `{"name":1}`,
		"a number out of range":          `{"in":{"port":65536}}`,
		"a negative port":                `{"in":{"port":-1}}`,
		"a broken number":                `{"in":{"port":1.5}}`,
		"null for a text":                `{"name":null}`,
		"null for a flag":                `{"flag":null}`,
		"null for all":                   `null`,
		"an array for all":               `[]`,
		"one level too deep":             `{"any":` + strings.Repeat(`[`, 16) + strings.Repeat(`]`, 16) + `}`,
		"too deep, with objects":         strings.Repeat(`{"any":`, 17) + `1` + strings.Repeat(`}`, 17),
		"a bomb of brackets":             strings.Repeat(`[`, 60000),
		"a bomb of closed brackets":      strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000),
	} {
		var v outer
		err := varlink.Unmarshal([]byte(in), &v)
		if !errors.Is(err, varlink.ErrMalformed) {
			t.Errorf("%s: Unmarshal(%.60s) = %v; want ErrMalformed", why, in, err)
		}
	}
}

func TestUnmarshalGrowing(t *testing.T) {
	var v outer
	if err := varlink.UnmarshalGrowing([]byte(`{"name":"a","later":{"x":1},"in":{"port":1,"new":2}}`), &v); err != nil || v.Name != "a" {
		t.Errorf("unknown names: %v, %+v", err, v)
	}
	for why, in := range map[string]string{
		"a known name in capitals":   `{"NAME":"a"}`,
		"an unknown name twice":      `{"x":1,"x":2}`,
		"a nested known name folded": `{"in":{"Port":1}}`,
	} {
		if err := varlink.UnmarshalGrowing([]byte(in), &v); !errors.Is(err, varlink.ErrMalformed) {
			t.Errorf("%s: %v; want ErrMalformed", why, err)
		}
	}
}

func TestUnmarshalErrorsQuoteNoPeerText(t *testing.T) {
	for _, in := range []string{`{"EVIL\u001b[31m":1}`, `{"name":1234567}`, `EVIL`, `{"txt":{"EVIL":1}}`} {
		var v outer
		if err := varlink.Unmarshal([]byte(in), &v); err == nil || strings.Contains(err.Error(), "EVIL") || strings.Contains(err.Error(), "1234567") {
			t.Errorf("Unmarshal(%s) = %v", in, err)
		}
	}
}

// Whatever Unmarshal accepts, the forgiving reader reads the same way, and
// what it wrote reads as itself.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":"a","in":{"port":1},"list":[],"txt":{"a":"b"},"any":1,"raw":[],"flag":true}`, `{"n\u0061me":""}`, `{"any":{"k":1,"K":2}}`, `[[[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var strict, loose, grown outer
		if err := varlink.Unmarshal(data, &strict); err != nil {
			if !errors.Is(err, varlink.ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if err := json.Unmarshal(data, &loose); err != nil {
			t.Fatalf("accepted what encoding/json does not: %v", err)
		}
		if err := varlink.UnmarshalGrowing(data, &grown); err != nil {
			t.Fatalf("UnmarshalGrowing is stricter: %v", err)
		}
		again, err := json.Marshal(strict)
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := json.Marshal(loose); string(want) != string(again) {
			t.Fatalf("%s read as %s", want, again)
		}
	})
}
