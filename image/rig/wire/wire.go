// Package wire is the protocol between the rig and its agent in dom0: frames
// over one reliable byte stream (a virtio serial port).
//
// A frame is
//
//	0  u32  length of the payload, little-endian, at most MaxPayload
//	4  u32  stream: one per command or file, chosen by the rig; 0 is the agent itself
//	8  u8   kind
//	9  payload
//
// The rig opens a stream with Exec or Put. Exec is answered by Started, any
// number of Stdout and Stderr, and one Exit; Put, followed by Data and an
// empty Data as its end, is answered by one Exit. Both ends trust each other:
// one started the other.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// MaxPayload bounds one frame's payload in bytes.
const MaxPayload = 256 << 10

const headerSize = 9

// ErrFrame says that the bytes read are no frame: the stream is out of step.
var ErrFrame = errors.New("not a frame of the rig's protocol")

// Kind says what a frame's payload is.
type Kind uint8

// The kinds of frame. In brackets who sends it.
const (
	KindReady   Kind = iota + 1 // [agent] JSON of Ready: dom0 is up
	KindFailed                  // [agent] text: dom0 could not be brought up
	KindStep                    // [agent] text: what bringing dom0 up does next
	KindConsole                 // [agent] JSON of Console: a guest's console said something
	KindExec                    // [rig] JSON of Exec
	KindStdin                   // [rig] bytes for the command; empty: no more
	KindSignal                  // [rig] JSON of Signal
	KindStarted                 // [agent] JSON of Started
	KindStdout                  // [agent] bytes
	KindStderr                  // [agent] bytes
	KindExit                    // [agent] JSON of Exit: the stream is over
	KindPut                     // [rig] JSON of Put
	KindData                    // [rig] bytes of the file; empty: no more
	kindEnd
)

// Frame is one message.
type Frame struct {
	Stream  uint32
	Kind    Kind
	Payload []byte
}

// PlanFile is where the initramfs has the JSON of the agent's Plan.
const PlanFile = "/etc/rig.json"

// Plan is what the agent makes of dom0 before it says that it is ready.
type Plan struct {
	// ControlModules make the serial port appear and are loaded first, so
	// that every later failure can be told; Modules follow, each in order.
	ControlModules, Modules []string
	// Dirs are made, then Setup is run in order.
	Dirs  []string
	Setup [][]string
}

// Ready says that dom0 and the Xen toolstack are up.
type Ready struct {
	// Uptime is dom0's, in seconds, when its agent was started and when all
	// was ready.
	StartedAt, ReadyAt float64
}

// Console is a piece of a guest's console as xenconsoled logged it.
type Console struct {
	Guest string
	Text  []byte
}

// Exec asks for a command.
type Exec struct {
	Args []string
	Env  []string // in addition to the agent's own
	Dir  string
}

// Started says that the command of an Exec runs.
type Started struct{ PID int }

// Signal asks that a signal be sent to the command, or to its process group.
type Signal struct {
	Number int
	Group  bool
}

// Exit is how a stream ended.
type Exit struct {
	// Code is the exit status; 128 and the number for a command ended by a
	// signal, as a shell has it.
	Code int
	// Error is why the command could not be run or the file not be written.
	Error string
}

// Put asks that a file be written; its directory is made.
type Put struct {
	Path string
	Mode uint32
}

// Read reads one frame.
func Read(r io.Reader) (Frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Frame{}, err
	}
	length := binary.LittleEndian.Uint32(header[0:])
	kind := Kind(header[8])
	if length > MaxPayload || kind == 0 || kind >= kindEnd {
		return Frame{}, fmt.Errorf("%w: kind %d, %d bytes", ErrFrame, kind, length)
	}
	f := Frame{Stream: binary.LittleEndian.Uint32(header[4:]), Kind: kind, Payload: make([]byte, length)}
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}

// Decode reads the JSON payload of f into v.
func (f Frame) Decode(v any) error {
	if err := json.Unmarshal(f.Payload, v); err != nil {
		return fmt.Errorf("%w: kind %d: %w", ErrFrame, f.Kind, err)
	}
	return nil
}

// Writer writes frames from many goroutines to one stream.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes one frame. A payload larger than MaxPayload is refused.
func (w *Writer) Write(stream uint32, kind Kind, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("write frame: %d bytes are too many", len(payload))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b := binary.LittleEndian.AppendUint32(w.buf[:0], uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, stream)
	b = append(b, byte(kind))
	w.buf = append(b, payload...)
	_, err := w.w.Write(w.buf)
	return err
}

// WriteJSON writes one frame whose payload is the JSON of v.
func (w *Writer) WriteJSON(stream uint32, kind Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return w.Write(stream, kind, payload)
}

// Bytes gives a writer whose bytes become frames of one kind on one stream.
func (w *Writer) Bytes(stream uint32, kind Kind) io.Writer {
	return byteWriter{w: w, stream: stream, kind: kind}
}

type byteWriter struct {
	w      *Writer
	stream uint32
	kind   Kind
}

func (b byteWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, MaxPayload)
		if err := b.w.Write(b.stream, b.kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}
