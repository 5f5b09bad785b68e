package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"xvsock/image/rig/wire"
)

func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	var pipe bytes.Buffer
	w := wire.NewWriter(&pipe)
	if err := w.WriteJSON(7, wire.KindExec, wire.Exec{Args: []string{"xl", "list"}}); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), wire.MaxPayload+10)
	if n, err := w.Bytes(8, wire.KindStdout).Write(big); n != len(big) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}

	f, err := wire.Read(&pipe)
	if err != nil || f.Stream != 7 || f.Kind != wire.KindExec {
		t.Fatalf("Read = %+v, %v", f, err)
	}
	var exec wire.Exec
	if err := f.Decode(&exec); err != nil || len(exec.Args) != 2 || exec.Args[1] != "list" {
		t.Fatalf("Decode = %+v, %v", exec, err)
	}
	var got []byte
	for range 2 {
		f, err := wire.Read(&pipe)
		if err != nil || f.Stream != 8 || f.Kind != wire.KindStdout {
			t.Fatalf("Read = stream %d kind %d, %v", f.Stream, f.Kind, err)
		}
		got = append(got, f.Payload...)
	}
	if !bytes.Equal(got, big) {
		t.Error("a payload larger than one frame came out changed")
	}
	if _, err := wire.Read(&pipe); err != io.EOF {
		t.Errorf("Read at the end = %v, want io.EOF", err)
	}
}

func TestReadRefuses(t *testing.T) {
	header := func(length uint32, kind byte, payload int) []byte {
		b := binary.LittleEndian.AppendUint32(nil, length)
		b = append(b, 1, 0, 0, 0, kind)
		return append(b, make([]byte, payload)...)
	}
	for name, test := range map[string]struct {
		in   []byte
		want error
	}{
		"a length beyond the bound":     {header(wire.MaxPayload+1, byte(wire.KindExec), 0), wire.ErrFrame},
		"kind zero":                     {header(0, 0, 0), wire.ErrFrame},
		"a kind that does not exist":    {header(0, 200, 0), wire.ErrFrame},
		"a stream cut in a header":      {header(0, 1, 0)[:5], io.ErrUnexpectedEOF},
		"a stream cut before a payload": {header(4, 1, 0), io.ErrUnexpectedEOF},
		"a stream cut in a payload":     {header(4, 1, 2), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := wire.Read(bytes.NewReader(test.in)); !errors.Is(err, test.want) {
				t.Errorf("Read = %v, want %v", err, test.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	var pipe bytes.Buffer
	if err := wire.NewWriter(&pipe).WriteJSON(1, wire.KindExit, wire.Exit{Code: 3}); err != nil {
		f.Fatal(err)
	}
	f.Add(pipe.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		frame, err := wire.Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := wire.NewWriter(&again).Write(frame.Stream, frame.Kind, frame.Payload); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(in, again.Bytes()) {
			t.Errorf("%x was read as a frame that writes as %x", in, again.Bytes())
		}
	})
}
