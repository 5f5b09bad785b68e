// Package model holds the model of the handshake between two clients and the
// manager in Promela, and the test that runs spin on it: handshake.pml says what
// is checked, client.pml and manager.pml what each side does. It is checked as it
// is, with all that fate may do, and with each rule broken once, so that the model
// is known to be able to fail.
package model

import (
	"testing"
	"time"

	"xvsock/internal/spin"
)

// timeout is for one run, on a machine busy with others.
const timeout = 3 * time.Minute

func TestRules(t *testing.T) {
	spin.Need(t)
	for _, c := range []struct{ name, defines string }{
		{"both ask, and are linked", "PROMPT LINKED ASKS=2"},
		{"both ask twice, fate strikes once", "ASKS=2 STRIKES=1"},
		{"both ask, fate strikes twice", "STRIKES=2"},
		{"a link stays when the manager dies or a front link ends", "ONLY CUT RESTART STRIKES=2 PROMPT STAYS"},
		{"death is not noticed", "ONLY CUT DEATH RESTART STRIKES=2 PROMPT NO_NOTICE"},
		{"a client asks before it says hello", "ONLY CLOSE STRIKES=1 ASKS=2 EAGER"},
		{"claims are judged always", "STRIKES=1 JUDGE_ALWAYS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if errors, report := check(t, "-O1", c.defines); errors != "0" {
				t.Errorf("%s errors:\n%s", errors, report)
			}
		})
	}
}

// Each rule broken is found out, and so soon that compiling takes longer.
func TestBrokenRules(t *testing.T) {
	spin.Need(t)
	for _, c := range []struct{ name, defines string }{
		{"manager: a crossing request is indicated too", "NO_SERIAL"},
		{"manager: policy is not looked at again for the indication", "ONLY FLIP STRIKES=1 NO_SECOND_LOOK"},
		{"manager: policy is not looked at again for the response", "ONLY FLIP STRIKES=1 NO_THIRD_LOOK"},
		{"manager: a mute responder is waited for", "ONLY MUTE STRIKES=1 NO_ACK_TIMER"},
		{"manager: a late answer counts", "LATE_ACK_COUNTS"},
		{"manager: a late answer is called forged", "FORGET_EXPIRED"},
		{"manager: an answer with any id counts", "ONLY FORGE STRIKES=1 NO_ID_CHECK"},
		{"manager: an answer from anybody counts", "ONLY FORGE STRIKES=1 NO_SENDER_CHECK"},
		{"manager: claims are not judged", "ONLY RESTART DEATH STRIKES=2 PROMPT NO_NOTICE NO_CLAIMS"},
		{"client: a crossing indication is refused", "PROMPT LINKED NO_CROSS_ANSWER"},
		{"client: crossed is a refusal", "PROMPT LINKED CROSSED_IS_REFUSED"},
		{"client: the offer keeps its generation", "PROMPT LINKED NO_ADOPT"},
		{"client: the generation is adopted after theirs is bound", "ADOPT_LATE"},
		{"client: a refused offer is released later", "RELEASE_LATE"},
		{"client: a refused offer is kept", "NO_RELEASE"},
		{"client: an offer is kept when the front link ends", "ONLY CUT STRIKES=1 NO_RELEASE_AT_END"},
		{"client: an accepted offer waits for ever", "NO_ACCEPT_TIMER"},
		{"client: links end with the front link", "ONLY RESTART STRIKES=1 PROMPT STAYS LINK_ENDS_WITH_FRONT"},
		{"client: an offer is not withdrawn when forbidden", "ONLY FLIP STRIKES=1 NO_WITHDRAW"},
		{"client: a request withdrawn is forgotten", "ONLY FLIP STRIKES=2 ASKS=2 FORGET_REQUEST"},
		{"client: an end is confirmed before it is one", "ONLY FLIP STRIKES=1 ACK_BEFORE_END"},
		{"client: a peer not told of again is kept", "ONLY FLIP CUT STRIKES=2 NO_RETOLD"},
		{"client: links not up yet are not claimed", "ONLY CUT STRIKES=1 HELLO_WITHOUT_ACCEPTING"},
		{"client: links are told of while a request is out", "ONLY OTHER STRIKES=1 HELLO_WHILE_ASKED"},
		{"client: a link that failed is not told of", "SILENT_FAILURE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if errors, report := check(t, "-O0", c.defines); errors != "1" {
				t.Errorf("%s errors, want the first one:\n%s", errors, report)
			}
		})
	}
}

// check searches the model with the names defined.
func check(t *testing.T, optimize, defines string) (errors, report string) {
	t.Helper()
	return spin.Search{
		Files: []string{"handshake.pml", "client.pml", "manager.pml"}, Defines: defines,
		// COLLAPSE stores states in less memory.
		Compile: []string{optimize, "-DCOLLAPSE"}, Timeout: timeout,
	}.Run(t)
}
