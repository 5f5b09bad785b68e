// Package model holds the models of package ring in Promela, and the test that
// runs spin on them: ring.pml is an honest pair and the wake-up rules W1-W4,
// liar.pml one End and a peer that lies. Each is checked as it is, and with
// each rule broken once, so that the models are known to be able to fail.
package model

import (
	"testing"
	"time"

	"xvsock/internal/spin"
)

// timeout is for one model, on a machine busy with others.
const timeout = 3 * time.Minute

func TestRules(t *testing.T) {
	spin.Need(t)
	for _, c := range []struct{ name, file, defines string }{
		{"copied, nobody polls", "ring.pml", ""},
		{"copied, the reader polls", "ring.pml", "RPOLL N=3"},
		{"copied, the writer polls", "ring.pml", "WPOLL N=3"},
		{"copied, both poll", "ring.pml", "RPOLL WPOLL N=3"},
		{"mapped, nobody polls", "ring.pml", "MAP"},
		{"mapped, the reader polls", "ring.pml", "MAP RPOLL N=3"},
		{"mapped, the writer polls", "ring.pml", "MAP WPOLL N=3"},
		{"mapped, both poll", "ring.pml", "MAP RPOLL WPOLL N=3"},
		{"mapped, both poll, awake is loaded to spare a notify", "ring.pml", "MAP FLUSH_LOADS RPOLL WPOLL N=3"},
		{"a peer that lies", "liar.pml", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if errors, report := check(t, c.file, c.defines); errors != "0" {
				t.Errorf("%s errors:\n%s", errors, report)
			}
		})
	}
}

// Each rule broken is found out.
func TestBrokenRules(t *testing.T) {
	spin.Need(t)
	for _, c := range []struct{ name, file, defines string }{
		{"W1: no notify after Commit", "ring.pml", "NO_W1"},
		{"W1: no notify after Want", "ring.pml", "NO_W1WANT"},
		{"W2: no notify at the Fetch", "ring.pml", "NO_W2FETCH"},
		{"W2: no notify at the Discard", "ring.pml", "NO_W2DISCARD"},
		{"W3: awake fetched before the store", "ring.pml", "MAP RPOLL NO_W3"},
		{"W3: no fence before the load of awake", "ring.pml", "MAP RPOLL NO_W3FENCE"},
		{"W3: no fence before Flush's own load of awake", "ring.pml", "MAP FLUSH_LOADS RPOLL NO_W3FENCE"},
		{"W4: awake while asleep with Flush's own load", "ring.pml", "MAP FLUSH_LOADS RPOLL NO_W4OFF"},
		{"W4: no fence after Awake off with Flush's own load", "ring.pml", "MAP FLUSH_LOADS RPOLL NO_W4FENCE"},
		{"W4: awake while asleep", "ring.pml", "MAP RPOLL NO_W4OFF"},
		{"W4: no Fetch after Awake off", "ring.pml", "MAP RPOLL NO_W4FETCH"},
		{"W4: no fence after Awake off, mapped", "ring.pml", "MAP RPOLL NO_W4FENCE"},
		{"W4: no fence after Awake off, copied", "ring.pml", "RPOLL NO_W4FENCE N=3"},
		{"sleep on a not yet", "ring.pml", "MAP RPOLL WPOLL SLEEP_ON_NOT_YET"},
		{"a wish granted is not asked for again though the consumer moved", "ring.pml", "MAP RPOLL GRANTED_WITHOUT_CONSUMER"},
		{"complement stored last", "ring.pml", "COMPLEMENT_LAST"},
		{"complement fetched first", "ring.pml", "COMPLEMENT_FETCHED_FIRST"},
		{"published before written, copied", "ring.pml", "DATA_LATE"},
		{"published before written, mapped", "ring.pml", "MAP DATA_LATE"},
		{"data copied before the header", "ring.pml", "DATA_BEFORE_HEADER"},
		{"discarded before read", "ring.pml", "MAP DISCARD_EARLY"},
		{"a producer beyond the ring is believed", "liar.pml", "NO_LIMIT"},
		{"a position that goes back is believed", "liar.pml", "NO_BACKWARDS"},
		{"a torn position is believed", "liar.pml", "TORN_ACCEPTED"},
		{"a word is fetched again after its check", "liar.pml", "FETCHED_TWICE"},
		{"our own position is read from the shared page", "liar.pml", "OWN_FROM_SHARED"},
		{"a broken End goes on", "liar.pml", "NO_DEAD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if errors, report := check(t, c.file, c.defines); errors != "1" {
				t.Errorf("%s errors, want the first one:\n%s", errors, report)
			}
		})
	}
}

// check searches a model with the names defined.
func check(t *testing.T, file, defines string) (errors, report string) {
	t.Helper()
	return spin.Search{Files: []string{file}, Defines: defines, Compile: []string{"-O1"}, Timeout: timeout}.Run(t)
}
