package config

import (
	"fmt"
	"maps"
	"slices"
)

// maxNodes is the most values that are taken from xenstore.
const maxNodes = 256

// Nodes is the source "xenstore": what the toolstack wrote below xvsock/config
// in the domain's home, each key with its values in their order. A key that may
// not repeat has one.
func Nodes(values map[string][]string) (Source, []Problem) {
	source := Source{Name: "xenstore"}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		for _, value := range values[key] {
			if len(source.Settings) == maxNodes {
				return source, []Problem{{
					Source: source.Name,
					Reason: fmt.Sprintf("more than %d values", maxNodes),
					Fix:    fmt.Sprintf("nothing is taken from %s on", shown(key)),
				}}
			}
			source.Settings = append(source.Settings, Setting{Key: key, Value: value})
		}
	}
	return source, nil
}
