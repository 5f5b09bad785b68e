package config_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"xvsock/config"
)

// Each key is that of the strongest source that has a value for it that can be
// used, and of no other: resolving all sources together gives what resolving that
// source alone does.
func TestEachKeyIsTheStrongestSources(t *testing.T) {
	values := map[string][]string{
		"mode":    {"frontend", "backend", "none"},
		"name":    {"a", "b", "", "\x00"},
		"service": {"echo", "clock", "clock:2000", "kv:7000:exec:/kv", "kv:7001:exec:/kv", "db:7000:forward:unix:/db", "db:1:exec:/db", "x"},
		"policy":  {"xenstore", "/p", "p"},
		"budget":  {"links=1", "links=2", "burst=3", "burst=0", "x"},
		"module":  {"m", "n", "/"},
		"log":     {"debug", "warn", "loud"},
		"panic":   {"halt", "shell", "x"},
		"strict":  {"0", "1", "true", "x"},
		"unknown": {"x"},
	}
	var keys []string
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	bare, _ := table().Resolve()
	defaults := bare.Values()
	rapid.Check(t, func(t *rapid.T) {
		sources := make([]config.Source, rapid.IntRange(0, 3).Draw(t, "sources"))
		for i := range sources {
			sources[i].Name = fmt.Sprintf("source %d", i)
			for range rapid.IntRange(0, 8).Draw(t, "settings") {
				key := rapid.SampledFrom(keys).Draw(t, "key")
				sources[i].Settings = append(sources[i].Settings, config.Setting{Key: key, Value: rapid.SampledFrom(values[key]).Draw(t, "value")})
			}
		}
		all, problems := table().Resolve(sources...)
		alone := make([]config.Config, len(sources))
		found := 0
		for i, s := range sources {
			var wrong []config.Problem
			alone[i], wrong = table().Resolve(s)
			found += len(wrong)
		}
		for i, v := range all.Values() {
			want := defaults[i]
			for _, c := range slices.Backward(alone) {
				if one := c.Values()[i]; one.Origin != "default" {
					want = one
				}
			}
			if diff := cmp.Diff(want, v); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", v.Key, diff)
			}
		}
		if found != len(problems) {
			t.Fatalf("%d problems together, %d one by one", len(problems), found)
		}
	})
}
