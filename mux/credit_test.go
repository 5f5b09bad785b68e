package mux

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// The credit of an honest receiver is what arithmetic without a limit says,
// wherever the counters stand when they wrap.
func TestCreditAgainstUnboundedIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p peerCredit
		start := rapid.Uint32().Draw(t, "start")
		p.word.Store(uint64(start))
		sent, taken, alloc := big.NewInt(int64(start)), big.NewInt(int64(start)), big.NewInt(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 1).Draw(t, "step") {
			case 0: // send some of what is left
				n := rapid.Uint32Range(0, p.left(low(sent))).Draw(t, "send")
				sent.Add(sent, big.NewInt(int64(n)))
			case 1: // the receiver takes some of what was sent
				flying := new(big.Int).Sub(sent, taken).Int64()
				taken.Add(taken, big.NewInt(rapid.Int64Range(0, flying).Draw(t, "take")))
				alloc.SetUint64(uint64(rapid.Uint32Range(0, 1<<30).Draw(t, "buffer")))
				if !p.learn(low(alloc), low(taken), low(sent)) {
					t.Fatalf("an honest stamp was called a lie")
				}
			}
			want := new(big.Int).Add(taken, alloc)
			want.Sub(want, sent)
			if want.Sign() < 0 {
				want.SetInt64(0)
			}
			if got := p.left(low(sent)); int64(got) != want.Int64() {
				t.Fatalf("credit %d, want %d", got, want)
			}
		}
	})
}

func low(x *big.Int) uint32 {
	return uint32(new(big.Int).And(x, big.NewInt(1<<32-1)).Uint64())
}

func TestCreditLies(t *testing.T) {
	for _, test := range []struct {
		name       string
		fwd, sent  uint32
		ok         bool
		wantedLeft uint32
	}{
		{"all acknowledged", 1000, 1000, true, 100},
		{"one byte more than sent", 1001, 1000, false, 0},
		{"2^31-1 more than was known", 1<<31 - 1, 1000, false, 0},
		{"an older stamp", 1<<32 - 1, 50, true, 50},
	} {
		var p peerCredit
		if got := p.learn(100, test.fwd, test.sent); got != test.ok {
			t.Errorf("%s: learn() = %v, want %v", test.name, got, test.ok)
		}
		if got := p.left(test.sent); got != test.wantedLeft {
			t.Errorf("%s: credit %d, want %d", test.name, got, test.wantedLeft)
		}
	}
}
