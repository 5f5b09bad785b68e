package xenbus_test

import (
	"strconv"
	"strings"
	"testing"

	"xvsock/xenbus"
)

func TestParseStateTakesOneDigitOfTheABI(t *testing.T) {
	for text, want := range map[string]xenbus.State{
		"0": xenbus.Unknown, "1": xenbus.Initialising, "2": xenbus.InitWait, "3": xenbus.Initialised,
		"4": xenbus.Connected, "5": xenbus.Closing, "6": xenbus.Closed,
		"7": xenbus.Reconfiguring, "8": xenbus.Reconfigured,
	} {
		if got, err := xenbus.ParseState(text); got != want || err != nil {
			t.Errorf("ParseState(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "a state beyond the last": "9", "two digits": "10", "a leading zero": "04",
		"a sign": "+4", "a negative number": "-1", "a blank before": " 4", "a newline after": "4\n",
		"a NUL after": "4\x00", "a letter": "x", "a digit of another script": "٤",
		"a control sequence": "\x1b[2J", "very much": strings.Repeat("4", 4096),
	} {
		got, err := xenbus.ParseState(text)
		if got != xenbus.Unknown || err == nil {
			t.Errorf("%s: ParseState gives %v, %v; want an error", name, got, err)
		}
		if err != nil && (len(err.Error()) > 200 || strings.ContainsAny(err.Error(), "\x1b\n\x00")) {
			t.Errorf("%s: the error carries the text as it came: %q", name, err)
		}
	}
}

func TestStateNamesAreThoseOfTheABI(t *testing.T) {
	for s, want := range map[xenbus.State]string{
		xenbus.Unknown: "Unknown", xenbus.InitWait: "InitWait", xenbus.Reconfigured: "Reconfigured",
		-1: "State(-1)", 9: "State(9)",
	} {
		if got := s.String(); got != want {
			t.Errorf("State(%d) is called %q, want %q", int(s), got, want)
		}
	}
}

func FuzzParseState(f *testing.F) {
	for _, s := range []string{"", "0", "4", "8", "9", "04", "4\x00", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := xenbus.ParseState(text)
		if err == nil && strconv.Itoa(int(s)) != text {
			t.Errorf("%q was read as %v", text, s)
		}
		if (err == nil) != (len(text) == 1 && text >= "0" && text <= "8") {
			t.Errorf("ParseState(%q) = %v, %v", text, s, err)
		}
	})
}
