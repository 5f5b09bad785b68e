package hybrid

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
)

func TestALineIsReadAndNothingBehindIt(t *testing.T) {
	longest := strings.Repeat("x", MaxLine-1)
	for name, test := range map[string]struct {
		in, line, rest string
		err            error
	}{
		"with data behind it":  {"CONNECT 5 7\nGET /", "CONNECT 5 7", "GET /", nil},
		"an empty line":        {"\nx", "", "x", nil},
		"the longest":          {longest + "\nx", longest, "x", nil},
		"one byte too long":    {longest + "x\n", "", "\n", ErrLine},
		"no line":              {"", "", "", io.EOF},
		"half a line":          {"CONN", "", "", io.ErrUnexpectedEOF},
		"a NUL":                {"CON\x00NECT\n", "", "NECT\n", ErrLine},
		"a carriage return":    {"CONNECT 7\r\n", "", "\n", ErrLine},
		"a byte beyond ASCII":  {"CONNECT \xc3\xa4 7\n", "", "\xa4 7\n", ErrLine},
		"a delete":             {"\x7f\n", "", "\n", ErrLine},
		"a megabyte of a line": {strings.Repeat("a", 1<<20), "", strings.Repeat("a", 1<<20-MaxLine), ErrLine},
	} {
		r := strings.NewReader(test.in)
		line, err := ReadLine(r)
		if line != test.line || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("%s: %q, %v", name, line, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != test.rest {
			t.Errorf("%s: %d bytes left; want %d", name, len(rest), len(test.rest))
		}
	}
}

func TestRequests(t *testing.T) {
	for line, want := range map[string]Request{
		"CONNECT db1 echo":   {Connect, "db1", "echo"},
		"CONNECT 0x10001 7":  {Connect, "0x10001", "7"},
		"CONNECT @backend 2": {Connect, "@backend", "2"},
		"CONNECT 22":         {Connect, "", "22"},
		"LISTEN 0":           {Listen, "", "0"},
		"ACCEPT":             {Accept, "", ""},
	} {
		got, err := ParseRequest(line)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
		if back, err := want.Line(); err != nil || string(back) != line+"\n" {
			t.Errorf("%+v: %q, %v", want, back, err)
		}
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	for _, line := range []string{
		"", " ", "CONNECT", "CONNECT ", "CONNECT  7", "CONNECT a  7", "CONNECT a 7 ", "CONNECT a 7 8", " CONNECT a 7",
		"connect a 7", "LISTEN", "LISTEN ", "LISTEN a 7", "ACCEPT 1", "ACCEPT ", "OK 7", "GET / HTTP/1.1",
		"CONNECT \x00 7", "LISTEN \t",
	} {
		r, err := ParseRequest(line)
		if !errors.Is(err, ErrLine) || r != (Request{}) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %+v, %v", line, r, err)
		}
	}
	for name, r := range map[string]Request{
		"a blank in the name":      {Connect, "my domain", "7"},
		"a newline in the name":    {Connect, "a\nLISTEN", "7"},
		"no port":                  {Connect, "a", ""},
		"a blank in the port":      {Listen, "", "7 8"},
		"no verb":                  {"", "a", "7"},
		"a domain to listen":       {Listen, "a", "7"},
		"an argument for ACCEPT":   {Accept, "", "7"},
		"longer than a line":       {Connect, strings.Repeat("a", MaxLine), "7"},
		"a name that is not ASCII": {Connect, "ä", "7"},
	} {
		if line, err := r.Line(); !errors.Is(err, ErrLine) || line != nil {
			t.Errorf("%s: %q, %v", name, line, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	if port, err := ParseOK(text(OK(3221225472))); port != 3221225472 || err != nil {
		t.Error(port, err)
	}
	if cid, port, err := ParseAccepted(text(Accepted(0x10000, 4294967294))); cid != 0x10000 || port != 4294967294 || err != nil {
		t.Error(cid, port, err)
	}
	for _, line := range []string{"", "OK", "OK ", "OK 1 2 3", "OK -1", "OK 4294967296", "OK x", "ok 1", "OK 1 x", "HELLO 1", "ERR", "ERRX EIO", "OK 0x7", "OK  7"} {
		if n, err := ParseOK(line); !errors.Is(err, ErrLine) || n != 0 {
			t.Errorf("%q: %d, %v", line, n, err)
		}
		if cid, port, err := ParseAccepted(line); !errors.Is(err, ErrLine) || cid|port != 0 {
			t.Errorf("%q: %d, %d, %v", line, cid, port, err)
		}
	}
	if _, err := ParseOK("OK 1 2"); !errors.Is(err, ErrLine) {
		t.Error("an answer to ACCEPT passed for one to CONNECT")
	}
}

func TestRefusals(t *testing.T) {
	for _, errno := range errnos {
		e := ErrorOf(fmt.Errorf("dial: %w", errno), syscall.EIO)
		line := text(e.Line())
		_, err := ParseOK(line)
		var got *Error
		if !errors.As(err, &got) || !errors.Is(err, errno) || got.Text != e.Text {
			t.Errorf("%q reads %v", line, err)
		}
	}
	for name, test := range map[string]struct {
		err  *Error
		line string
	}{
		"without a text":            {&Error{Errno: syscall.EACCES}, "ERR EACCES"},
		"a text of more lines":      {&Error{syscall.EIO, "a\nOK 7\x1b[2J"}, `ERR EIO a\nOK 7\x1b[2J`},
		"names in quotes":           {&Error{syscall.EIO, `no "a\b"`}, `ERR EIO no "a\\b"`},
		"not ASCII":                 {&Error{syscall.EIO, "ä"}, `ERR EIO \u00e4`},
		"an errno of no connection": {&Error{syscall.EISDIR, "x"}, "ERR EIO x"},
		"not from an errno":         {ErrorOf(io.EOF, syscall.EHOSTUNREACH), "ERR EHOSTUNREACH EOF"},
		"no errno at all":           {&Error{Text: "x"}, "ERR EIO x"},
	} {
		if got := text(test.err.Line()); got != test.line {
			t.Errorf("%s: %q", name, got)
		}
	}
	long := (&Error{syscall.EIO, strings.Repeat("ä", 1000)}).Line()
	if len(long) != MaxLine || long[MaxLine-1] != '\n' {
		t.Errorf("a long text makes a line of %d bytes", len(long))
	}
	if _, err := ParseOK("ERR EWHATEVER it is so"); !errors.Is(err, syscall.EIO) || err.Error() != "EWHATEVER it is so" {
		t.Errorf("an unknown name reads %v", err)
	}
	if err := (&Error{Errno: syscall.EACCES}).Error(); err != "permission denied" {
		t.Error(err)
	}
}

// text is a line without its newline.
func text(line []byte) string { return strings.TrimSuffix(string(line), "\n") }

func FuzzRequest(f *testing.F) {
	for _, s := range []string{"CONNECT db1 echo\n", "CONNECT 7\n", "LISTEN 0\nACCEPT\n", "ACCEPT\n", "\x00", "CONNECT  7\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		line, err := ReadLine(r)
		if err != nil {
			if line != "" {
				t.Fatalf("%q with %v", line, err)
			}
			return
		}
		if used := len(in) - r.Len(); used != len(line)+1 || used > MaxLine {
			t.Fatalf("%d bytes taken for a line of %d", used, len(line))
		}
		req, err := ParseRequest(line)
		if err != nil {
			return
		}
		// There is one way to say a request.
		if back, err := req.Line(); err != nil || text(back) != line {
			t.Fatalf("%q is %+v, which is %q, %v", line, req, back, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"OK 7", "OK 5 7", "ERR EACCES no", "ERR  ", "ERR EFOO"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		port, err := ParseOK(line)
		_, _, both := ParseAccepted(line)
		if err == nil && both == nil {
			t.Fatal("two answers at once")
		}
		var e *Error
		switch {
		case err == nil:
			if again, err := ParseOK(text(OK(port))); again != port || err != nil {
				t.Fatal(again, err)
			}
		case errors.As(err, &e):
			if l := e.Line(); len(l) > MaxLine || bytes.IndexByte(l, '\n') != len(l)-1 {
				t.Fatalf("%q", l)
			}
		case !errors.Is(err, ErrLine):
			t.Fatal(err)
		}
	})
}
