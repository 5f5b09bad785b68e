package main

import (
	"bufio"
	"bytes"
)

// execute carries out one line and answers it, and reports whether the connection
// goes on. An error of w shows when it is flushed.
func (s *server) execute(w *bufio.Writer, line []byte) (more bool) {
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'})
	command, rest, _ := bytes.Cut(line, []byte{' '})
	key, text, hasText := bytes.Cut(rest, []byte{' '})
	switch string(command) {
	case "QUIT":
		return false
	case "KEYS":
		for _, k := range s.store.keys() {
			answer(w, "KEY ", k)
		}
		answer(w, "END")
	case "GET", "DEL", "SET":
		switch {
		case !validKey(key):
			answer(w, "ERROR bad key")
		case hasText != (string(command) == "SET"):
			answer(w, "ERROR usage: GET key, SET key text, DEL key, KEYS, QUIT")
		case len(text) > maxText:
			answer(w, "ERROR text too long")
		default:
			s.access(w, string(command), string(key), string(text))
		}
	default:
		answer(w, "ERROR unknown command")
	}
	return true
}

// access is GET, SET and DEL with valid arguments.
func (s *server) access(w *bufio.Writer, command, key, text string) {
	switch command {
	case "GET":
		if v, there := s.store.get(key); there {
			answer(w, "VALUE ", v)
			return
		}
	case "SET":
		if err := s.store.set(key, text); err != nil {
			answer(w, "ERROR ", err.Error())
			return
		}
		answer(w, "OK")
		return
	case "DEL":
		if s.store.del(key) {
			answer(w, "OK")
			return
		}
	}
	answer(w, "NONE")
}

// validKey reports whether a key is short, printable ASCII and without blanks.
func validKey(key []byte) bool {
	if len(key) == 0 || len(key) > maxKey {
		return false
	}
	for _, c := range key {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// answer writes one line.
func answer(w *bufio.Writer, parts ...string) {
	for _, p := range parts {
		w.WriteString(p)
	}
	w.WriteByte('\n')
}
