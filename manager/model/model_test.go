// Package model holds the model of the handshake between two clients and the
// manager in Promela, and the test that runs spin on it: handshake.pml says what
// is checked, client.pml and manager.pml what each side does. It is checked with
// every kind of misfortune, and with each rule broken once, so that the model is
// known to be able to fail.
package model

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// timeout is for one run, on a machine busy with others.
const timeout = 3 * time.Minute

func TestRules(t *testing.T) {
	needSpin(t)
	for _, c := range []struct{ name, defines string }{
		{"both ask, and are linked", "PROMPT LINKED ASKS=2"},
		{"both ask twice, timers strike", "ASKS=2"},
		{"links are closed and made again", "CLOSES=1 ASKS=2"},
		{"links are closed, the client is eager", "CLOSES=1 ASKS=2 EAGER"},
		{"a front link ends", "CUTS=1 ASKS=2"},
		{"two front links end", "CUTS=2"},
		{"a front link ends, other links change", "CUTS=1 OTHERS=1"},
		{"claims are judged always", "CUTS=1 OTHERS=1 JUDGE_ALWAYS"},
		{"a client dies", "DEATHS=1 ASKS=2"},
		{"two clients die", "DEATHS=2"},
		{"the manager dies", "RESTARTS=1 ASKS=2"},
		{"the manager dies twice, a link stays", "RESTARTS=2 PROMPT STAYS"},
		{"two front links end, a link stays", "CUTS=2 PROMPT STAYS"},
		{"the manager and a client die", "RESTARTS=1 DEATHS=1"},
		{"the manager and a client die, unnoticed", "RESTARTS=1 DEATHS=1 PROMPT NO_NOTICE"},
		{"the manager dies and a front link ends, unnoticed", "RESTARTS=1 CUTS=1 PROMPT NO_NOTICE"},
		{"policy changes three times", "FLIPS=3"},
		{"policy changes, both ask twice", "FLIPS=1 ASKS=2"},
		{"policy changes and a front link ends", "FLIPS=1 CUTS=1"},
		{"policy changes and a client dies", "FLIPS=1 DEATHS=1"},
		{"policy changes and the manager dies", "FLIPS=1 RESTARTS=1"},
		{"an offer cannot be made or bound", "FAULTS=1 ASKS=2"},
		{"a responder is mute", "MUTES=1 ASKS=2"},
		{"an answer is forged", "FORGES=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if errors, report := check(t, c.defines); errors != "0" {
				t.Errorf("%s errors:\n%s", errors, report)
			}
		})
	}
}

// Each rule broken is found out.
func TestBrokenRules(t *testing.T) {
	needSpin(t)
	for _, c := range []struct{ name, defines string }{
		{"manager: a crossing request is indicated too", "NO_SERIAL"},
		{"manager: policy is not looked at again for the indication", "FLIPS=1 NO_SECOND_LOOK"},
		{"manager: policy is not looked at again for the response", "FLIPS=1 NO_THIRD_LOOK"},
		{"manager: a mute responder is waited for", "MUTES=1 NO_ACK_TIMER"},
		{"manager: a late answer counts", "LATE_ACK_COUNTS"},
		{"manager: a late answer is called forged", "FORGET_EXPIRED"},
		{"manager: an answer with any id counts", "FORGES=1 NO_ID_CHECK"},
		{"manager: an answer from anybody counts", "FORGES=1 NO_SENDER_CHECK"},
		{"manager: claims are not judged", "RESTARTS=1 DEATHS=1 PROMPT NO_NOTICE NO_CLAIMS"},
		{"client: a crossing indication is refused", "PROMPT LINKED NO_CROSS_ANSWER"},
		{"client: crossed is a refusal", "PROMPT LINKED CROSSED_IS_REFUSED"},
		{"client: the offer keeps its generation", "PROMPT LINKED NO_ADOPT"},
		{"client: the generation is adopted after theirs is bound", "ADOPT_LATE"},
		{"client: a refused offer is released later", "RELEASE_LATE"},
		{"client: a refused offer is kept", "NO_RELEASE"},
		{"client: an offer is kept when the front link ends", "CUTS=1 NO_RELEASE_AT_END"},
		{"client: an accepted offer waits for ever", "NO_ACCEPT_TIMER"},
		{"client: links end with the front link", "RESTARTS=1 PROMPT STAYS LINK_ENDS_WITH_FRONT"},
		{"client: an offer is not withdrawn when forbidden", "FLIPS=1 NO_WITHDRAW"},
		{"client: a request withdrawn is forgotten", "FLIPS=2 ASKS=2 FORGET_REQUEST"},
		{"client: an end is confirmed before it is one", "FLIPS=1 ACK_BEFORE_END"},
		{"client: a peer not told of again is kept", "FLIPS=1 CUTS=1 NO_RETOLD"},
		{"client: links not up yet are not claimed", "CUTS=1 HELLO_WITHOUT_ACCEPTING"},
		{"client: links are told of while a request is out", "OTHERS=1 HELLO_WHILE_ASKED"},
		{"client: a link that failed is not told of", "SILENT_FAILURE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if errors, report := check(t, c.defines); errors != "1" {
				t.Errorf("%s errors, want the first one:\n%s", errors, report)
			}
		})
	}
}

// needSpin skips the test where its tools are missing, or fails it where they
// must not be.
func needSpin(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"spin", "cc"} {
		if _, err := exec.LookPath(tool); err != nil {
			text := fmt.Sprintf("no %s: install Debian's packages spin and gcc", tool)
			if os.Getenv("XVSOCK_RIG") == "1" {
				t.Fatal(text)
			}
			t.Skip(text)
		}
	}
}

var errorsLine = regexp.MustCompile(`(?m)^State-vector .* errors: (\d+)$`)

// check runs spin on the model with the names defined, and returns the number of
// errors found, with what the verifier said. It stops at the first. A search that
// was cut short is a failure of the test, whatever it found.
func check(t *testing.T, defines string) (errors, report string) {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"handshake.pml", "client.pml", "manager.pml"} {
		// Read here, so that the test cache knows of a change.
		model, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), model, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	run := func(name string, args ...string) string {
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
		cmd.WaitDelay = time.Second
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out.String())
		}
		return out.String()
	}
	spin := []string{"-a"}
	for name := range strings.FieldsSeq(defines) {
		spin = append(spin, "-D"+name)
	}
	run("spin", append(spin, "handshake.pml")...)
	// SAFETY leaves out the search for cycles, which nothing here asks for;
	// MEMLIM is in MB.
	run("cc", "-O1", "-w", "-DSAFETY", "-DMEMLIM=1500", "-o", "pan", "pan.c")
	report = run(filepath.Join(dir, "pan"), "-m100000")

	found := errorsLine.FindStringSubmatch(report)
	if found == nil || strings.Contains(report, "max search depth too small") || strings.Contains(report, "out of memory") {
		t.Fatalf("the search was not finished:\n%s", report)
	}
	return found[1], report
}
