package services_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"xvsock/services"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "echo", "a-b-c", "7a", "a7", strings.Repeat("x", 15)} {
		if err := services.CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v; want nil", name, err)
		}
	}
	for why, name := range map[string]string{
		"empty": "", "one too long": strings.Repeat("x", 16), "a megabyte": strings.Repeat("x", 1<<20),
		"upper case": "Echo", "no letter": "123", "hyphen first": "-a", "hyphen last": "a-", "two hyphens": "a--b",
		"underscore": "a_b", "newline": "a\n", "escape": "\x1b[31m", "NUL": "a\x00b", "dot": "a.b", "slash": "a/b",
		"dollar": "$x", "cyrillic a": "\u0430bc", "kelvin sign": "\u212a", "broken UTF-8": "a\xff",
	} {
		if err := services.CheckName(name); !errors.Is(err, services.ErrName) {
			t.Errorf("%s: CheckName(%.20q) = %v; want ErrName", why, name, err)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"", "echo", "a--b", "-a", "a-", "0", "0-0", "a0-b1-c2-d3-e4f", "\u0430"} {
		f.Add(s)
	}
	shape := regexp.MustCompile(`\A[a-z0-9]+(-[a-z0-9]+)*\z`)
	letter := regexp.MustCompile(`[a-z]`)
	f.Fuzz(func(t *testing.T, s string) {
		want := len(s) <= 15 && shape.MatchString(s) && letter.MatchString(s)
		if got := services.CheckName(s) == nil; got != want {
			t.Errorf("CheckName(%q) ok = %v; want %v", s, got, want)
		}
	})
}

func TestCheckTxt(t *testing.T) {
	many := make(map[string]string)
	for i := range services.MaxTxtKeys + 1 {
		many[fmt.Sprint("k", i)] = ""
	}
	full := map[string]string{"k": strings.Repeat("v", services.MaxTxt-1)}
	for _, txt := range []map[string]string{nil, {"version": "1.2 (beta)", "a.b_c-d": ""}, full} {
		if err := services.CheckTxt(txt); err != nil {
			t.Errorf("CheckTxt(%.40v) = %v; want nil", txt, err)
		}
	}
	for why, txt := range map[string]map[string]string{
		"too many keys": many, "one byte too many": {"k": full["k"] + "v"}, "empty key": {"": "v"},
		"key in capitals": {"K": "v"}, "key with a blank": {"a b": "v"}, "long key": {strings.Repeat("k", 33): ""},
		"escape in a value": {"k": "\x1b]0;x\a"}, "newline in a value": {"k": "a\nb"}, "right-to-left in a value": {"k": "\u202e"},
		"broken UTF-8 in a value": {"k": "\xff"}, "DEL in a value": {"k": "\x7f"},
	} {
		if err := services.CheckTxt(txt); !errors.Is(err, services.ErrTxt) {
			t.Errorf("%s: CheckTxt = %v; want ErrTxt", why, err)
		}
	}
}

func TestInfoKeepsWellKnownPorts(t *testing.T) {
	for _, c := range []struct {
		info services.Info
		want error
	}{
		{services.Info{Name: "echo", Port: 7}, nil},
		{services.Info{Name: "web", Port: 80}, nil},
		{services.Info{Name: "echo", Port: 7000}, services.ErrPort},
		{services.Info{Name: "web", Port: 0}, services.ErrPort},
		{services.Info{Name: "web", Port: 0xFFFFFFFF}, services.ErrPort},
		{services.Info{Name: "Web", Port: 80}, services.ErrName},
		{services.Info{Name: "web", Port: 80, Txt: map[string]string{"": ""}}, services.ErrTxt},
	} {
		if err := c.info.Check(); !errors.Is(err, c.want) {
			t.Errorf("%+v: Check() = %v; want %v", c.info, err, c.want)
		}
	}
}
