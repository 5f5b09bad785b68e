package ring

import "encoding/binary"

// own are the words of our own header that move. They are only ever written:
// what we know of ourselves is in private memory, so nobody who can write this
// page by some accident can make us believe anything (rule R1).
type own struct {
	state              *uint32
	producer, consumer pair
	want, awake        *uint32
}

func ownWords(page []byte) own {
	return own{
		state:    word32(page, StateOffset),
		producer: pairAt(page, producerOffset),
		consumer: pairAt(page, consumerOffset),
		want:     word32(page, wantOffset),
		awake:    word32(page, awakeOffset),
	}
}

func pairAt(page []byte, off int) pair {
	return pair{value: word64(page, off), complement: word64(page, off+complement)}
}

// moving are the words of the other side's header as one fetch saw them. Every
// word is here once, and nothing in it is checked yet (rule R2).
type moving struct {
	state              byte
	producer, consumer fetched
	want, awake        uint32
}

// decodeMoving reads the words from a private copy of the moving part.
func decodeMoving(b *[MovingSize]byte) moving {
	at := func(off int) []byte { return b[off-MovingOffset:] }
	position := func(off int) fetched {
		return fetched{
			value:      binary.LittleEndian.Uint64(at(off)),
			complement: binary.LittleEndian.Uint64(at(off + complement)),
		}
	}
	return moving{
		state:    b[StateOffset-MovingOffset],
		producer: position(producerOffset),
		consumer: position(consumerOffset),
		want:     binary.LittleEndian.Uint32(at(wantOffset)),
		awake:    binary.LittleEndian.Uint32(at(awakeOffset)),
	}
}

// mapped is the other side's header page, mapped into our memory.
type mapped struct {
	words own // loaded only
}

// load fetches every word once. The loads are atomic, so none of them happens
// before a store of ours that came earlier (W3 and W4 ask for a full fence
// there), and data read after them is at least as new as the producer.
func (m mapped) load() moving {
	return moving{
		state:    byte(loadLE32(m.words.state)),
		producer: m.words.producer.load(),
		consumer: m.words.consumer.load(),
		want:     loadLE32(m.words.want),
		awake:    loadLE32(m.words.awake),
	}
}
