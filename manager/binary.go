package manager

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"xvsock/manager/port1"
)

// binaryUUID is a uuid as port 1 has it; zero, as for no uuid, if text is none.
func binaryUUID(text string) (u port1.UUID) {
	digits := strings.ReplaceAll(text, "-", "")
	if n, err := hex.Decode(u[:], []byte(digits[:min(len(digits), 2*len(u))])); err != nil || n != len(u) || len(digits) != 2*len(u) {
		return port1.UUID{}
	}
	return u
}

// binaryAttachment is an attachment as port 1 has it. Of one that is not 32
// digits, which the toolstack does not make, it is a hash: another one after every
// attach all the same.
func binaryAttachment(text string) (a port1.Attachment) {
	if n, err := hex.Decode(a[:], []byte(text[:min(len(text), 2*len(a))])); err == nil && n == len(a) && len(text) == 2*len(a) {
		return a
	}
	sum := sha256.Sum256([]byte(text))
	return port1.Attachment(sum[:len(a)])
}

// randomID returns the id of a message. No domain can guess the one of a message
// to another domain (hostile behaviour 22).
func randomID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return binary.LittleEndian.Uint64(b[:])
}
