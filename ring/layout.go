package ring

import (
	"encoding/binary"
	"fmt"
)

// The header page. Each side of a link has one, which only its owner writes and
// the other side reads, by copy or mapped. All words are little-endian.
//
//	  0  magic u32     4 version u32     8 generation u64
//	 16  tx_size u32  20 rx_size u32    24..63 zero
//	 64  state u8     65..71 zero
//	 72  producer u64      80 its complement
//	 88  consumer u64      96 its complement
//	104  want_space u32  108 awake u32  112..127 zero
//	128  refs u32[tx_size/4096], then u32[rx_size/4096]
//
// Bytes 0..63 and the refs never change while the header is up and are read
// once (ParseStatic); bytes 64..127 move and are fetched again and again.
// producer is a position in the owner's tx ring, consumer one in its rx ring,
// want_space the bytes that it wants free in its tx ring. tx_size and rx_size
// are the sizes of those data rings whose pages the owner of the header owns,
// and 0 for those that it does not: on a front link the frontend owns both, on a
// peer link each side owns its tx ring. Bytes called zero are ignored by
// readers.
const (
	// HeaderSize is the size in bytes of a header: one Xen page.
	HeaderSize = pageSize
	// StateOffset is where the state byte lies: 1 up, 0 gone. It is the byte
	// for gntalloc's unmap-notify to clear.
	StateOffset = 64
	// MovingOffset and MovingSize are the part of the header that moves.
	MovingOffset = 64
	MovingSize   = 64
	// MinSize and MaxSize bound the size in bytes of a data ring, which is a
	// power of two. 1 MiB keeps the references of two rings, 2 * 256 * 4
	// bytes, in the header page.
	MinSize = pageSize
	MaxSize = 1 << 20

	// pageSize is what one grant covers, and no Segment crosses. Xen fixes it at
	// 4 KiB whatever the kernel's page size is.
	pageSize = 4096

	magic   = 0x4b535658 // "XVSK"
	version = 1

	versionOffset    = 4
	generationOffset = 8
	txSizeOffset     = 16
	rxSizeOffset     = 20
	producerOffset   = 72
	consumerOffset   = 88
	wantOffset       = 104
	awakeOffset      = 108
	refsOffset       = 128

	complement = 8 // from a position to its complement

	stateGone = 0
	stateUp   = 1
)

// Static is the part of a header that never changes while it is up.
type Static struct {
	// Generation tells this making of the link from every other.
	Generation uint64
	// TxSize and RxSize are the sizes in bytes of the data rings whose pages
	// the owner of the header owns, seen from that owner; 0: it owns none.
	TxSize, RxSize int
	// TxRefs and RxRefs are the grant references of these pages, one a page.
	TxRefs, RxRefs []uint32
}

// Format writes a whole header into our own page: s, both positions 0, nothing
// wanted, not awake. The state becomes up last, so that whoever sees it up
// sees the rest. The page must be HeaderSize bytes at a multiple of 8.
func Format(page []byte, s Static) error {
	if err := checkPage("header", page); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("format header: %w", err)
	}
	own := ownWords(page)
	storeLE32(own.state, stateGone)
	clear(page[:StateOffset])
	clear(page[StateOffset+4:]) // behind the word that the state byte lies in

	binary.LittleEndian.PutUint32(page, magic)
	binary.LittleEndian.PutUint32(page[versionOffset:], version)
	binary.LittleEndian.PutUint64(page[generationOffset:], s.Generation)
	binary.LittleEndian.PutUint32(page[txSizeOffset:], uint32(s.TxSize))
	binary.LittleEndian.PutUint32(page[rxSizeOffset:], uint32(s.RxSize))
	refs := page[refsOffset:refsOffset]
	for _, list := range [][]uint32{s.TxRefs, s.RxRefs} {
		for _, ref := range list {
			refs = binary.LittleEndian.AppendUint32(refs, ref)
		}
	}
	own.producer.publish(0)
	own.consumer.publish(0)
	storeLE32(own.want, 0)
	storeLE32(own.awake, 0)
	storeLE32(own.state, stateUp)
	return nil
}

// check finds what no header of ours may say.
func (s Static) check() error {
	for _, r := range []struct {
		name string
		size int
		refs []uint32
	}{{"tx", s.TxSize, s.TxRefs}, {"rx", s.RxSize, s.RxRefs}} {
		if r.size != 0 && !validSize(r.size) {
			return fmt.Errorf("%s ring of %d bytes: not a power of two from %d to %d", r.name, r.size, MinSize, MaxSize)
		}
		if len(r.refs) != r.size/pageSize {
			return fmt.Errorf("%s ring of %d bytes: %d references", r.name, r.size, len(r.refs))
		}
	}
	return nil
}

// ParseStatic reads the static part of a foreign header from a private copy of
// the whole page. It says nothing about the state, and the references are
// whatever the other side wrote: a copy that names a wrong one fails. An error
// is a *LieError.
func ParseStatic(page []byte) (Static, error) {
	if len(page) != HeaderSize {
		return Static{}, &LieError{"header", uint64(len(page)), "not a page long"}
	}
	if v := binary.LittleEndian.Uint32(page); v != magic {
		return Static{}, &LieError{"magic", uint64(v), "not a header of a ring"}
	}
	if v := binary.LittleEndian.Uint32(page[versionOffset:]); v != version {
		return Static{}, &LieError{"version", uint64(v), "not a version known here"}
	}
	tx, err := parseSize("tx_size", page[txSizeOffset:])
	if err != nil {
		return Static{}, err
	}
	rx, err := parseSize("rx_size", page[rxSizeOffset:])
	if err != nil {
		return Static{}, err
	}
	txEnd := refsOffset + 4*(tx/pageSize)
	return Static{
		Generation: binary.LittleEndian.Uint64(page[generationOffset:]),
		TxSize:     tx,
		RxSize:     rx,
		TxRefs:     parseRefs(page[refsOffset:txEnd]),
		RxRefs:     parseRefs(page[txEnd : txEnd+4*(rx/pageSize)]),
	}, nil
}

func parseSize(word string, b []byte) (int, error) {
	v := binary.LittleEndian.Uint32(b)
	if v != 0 && (v > MaxSize || !validSize(int(v))) {
		return 0, &LieError{word, uint64(v), "not 0 and not a power of two from 4 KiB to 1 MiB"}
	}
	return int(v), nil
}

func parseRefs(b []byte) []uint32 {
	if len(b) == 0 {
		return nil
	}
	refs := make([]uint32, 0, len(b)/4)
	for ; len(b) > 0; b = b[4:] {
		refs = append(refs, binary.LittleEndian.Uint32(b))
	}
	return refs
}

func validSize(n int) bool { return n >= MinSize && n <= MaxSize && n&(n-1) == 0 }

// checkPage refuses a page that the words of a header cannot be loaded from
// atomically.
func checkPage(name string, page []byte) error {
	if len(page) != HeaderSize {
		return fmt.Errorf("%s page of %d bytes: want %d", name, len(page), HeaderSize)
	}
	if !aligned(page) {
		return fmt.Errorf("%s page is not at a multiple of 8", name)
	}
	return nil
}
