package ring_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/ring"
)

func refs(n int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = uint32(1000 + i)
	}
	return list
}

func TestFormatIsWhatParseStaticReads(t *testing.T) {
	for _, s := range []ring.Static{
		{Generation: 1},
		{Generation: 1<<64 - 1, TxSize: 4096, TxRefs: refs(1)},
		{Generation: 2, TxSize: 65536, RxSize: 65536, TxRefs: refs(16), RxRefs: refs(16)},
		{Generation: 3, TxSize: 1 << 20, RxSize: 1 << 20, TxRefs: refs(256), RxRefs: refs(256)},
	} {
		page := slices.Repeat([]byte{0xAA}, ring.HeaderSize)
		if err := ring.Format(page, s); err != nil {
			t.Fatal(err)
		}
		got, err := ring.ParseStatic(page)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Error(diff)
		}
	}
}

// The bytes are the protocol: whoever changes one makes a new version.
func TestFormatWritesTheDocumentedBytes(t *testing.T) {
	page := slices.Repeat([]byte{0xAA}, ring.HeaderSize)
	err := ring.Format(page, ring.Static{
		Generation: 0x0102030405060708, TxSize: 8192, RxSize: 4096,
		TxRefs: []uint32{9, 10}, RxRefs: []uint32{11},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, ring.HeaderSize)
	copy(want, "XVSK")
	// "XVSK" as bytes is the little-endian word 0x4b535658.
	copy(want[4:], []byte{1, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0x20, 0, 0, 0, 0x10, 0, 0})
	want[64] = 1
	for i := range 8 {
		want[80+i], want[96+i] = 0xFF, 0xFF
	}
	copy(want[128:], []byte{9, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0})
	if diff := cmp.Diff(want, page); diff != "" {
		t.Error(diff)
	}
}

func TestFormatRefusesWhatNoHeaderMaySay(t *testing.T) {
	page := make([]byte, ring.HeaderSize)
	for name, c := range map[string]struct {
		page   []byte
		static ring.Static
	}{
		"a short page":                   {page[:4095], ring.Static{}},
		"a page at an odd address":       {make([]byte, 2*ring.HeaderSize)[1 : 1+ring.HeaderSize], ring.Static{}},
		"a ring smaller than a page":     {page, ring.Static{TxSize: 2048}},
		"a ring of three pages":          {page, ring.Static{RxSize: 12288, RxRefs: refs(3)}},
		"a ring over 1 MiB":              {page, ring.Static{TxSize: 2 << 20, TxRefs: refs(512)}},
		"a negative ring":                {page, ring.Static{TxSize: -4096}},
		"a reference too few":            {page, ring.Static{TxSize: 8192, TxRefs: refs(1)}},
		"a reference too many":           {page, ring.Static{TxSize: 4096, TxRefs: refs(2)}},
		"references of no ring":          {page, ring.Static{RxRefs: refs(1)}},
		"as many references as go wrong": {page, ring.Static{TxSize: 4096, RxSize: 4096, RxRefs: refs(2)}},
	} {
		if err := ring.Format(c.page, c.static); err == nil {
			t.Errorf("Format accepts %s", name)
		}
	}
}

func TestParseStaticRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		word string
		edit func(page []byte) []byte
	}{
		{"an empty page", "header", func(p []byte) []byte { return nil }},
		{"a page less a byte", "header", func(p []byte) []byte { return p[:len(p)-1] }},
		{"a page and a byte", "header", func(p []byte) []byte { return append(p, 0) }},
		{"another magic", "magic", func(p []byte) []byte { p[0]++; return p }},
		{"version 0", "version", func(p []byte) []byte { setWord32(p, 4, 0); return p }},
		{"version 2", "version", func(p []byte) []byte { setWord32(p, 4, 2); return p }},
		{"a tx ring of one byte", "tx_size", func(p []byte) []byte { setWord32(p, 16, 1); return p }},
		{"a tx ring of 4095 bytes", "tx_size", func(p []byte) []byte { setWord32(p, 16, 4095); return p }},
		{"a tx ring of 4097 bytes", "tx_size", func(p []byte) []byte { setWord32(p, 16, 4097); return p }},
		{"a tx ring of three pages", "tx_size", func(p []byte) []byte { setWord32(p, 16, 12288); return p }},
		{"a tx ring of 2 MiB", "tx_size", func(p []byte) []byte { setWord32(p, 16, 2<<20); return p }},
		{"a tx ring of 2 GiB", "tx_size", func(p []byte) []byte { setWord32(p, 16, 1<<31); return p }},
		{"an rx ring of 4 GiB less one", "rx_size", func(p []byte) []byte { setWord32(p, 20, 1<<32-1); return p }},
		{"an rx ring of 2 KiB", "rx_size", func(p []byte) []byte { setWord32(p, 20, 2048); return p }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ring.ParseStatic(c.edit(newHeader(t)))
			var lie *ring.LieError
			if !errors.As(err, &lie) || lie.Word != c.word {
				t.Errorf("got %v, want a lie about %s", err, c.word)
			}
		})
	}
}

func FuzzParseStatic(f *testing.F) {
	page := make([]byte, ring.HeaderSize)
	if err := ring.Format(page, ring.Static{Generation: 5, TxSize: 1 << 20, TxRefs: refs(256), RxSize: 4096, RxRefs: refs(1)}); err != nil {
		f.Fatal(err)
	}
	f.Add(page[:160])
	f.Add(page)
	f.Fuzz(func(t *testing.T, start []byte) {
		page := make([]byte, ring.HeaderSize)
		copy(page, start)
		s, err := ring.ParseStatic(page)
		if err != nil {
			var lie *ring.LieError
			if !errors.As(err, &lie) {
				t.Fatalf("%v is no lie", err)
			}
			return
		}
		again := newHeader(t) // aligned, on the heap
		if err := ring.Format(again, s); err != nil {
			t.Fatalf("Format refuses what ParseStatic accepted: %v", err)
		}
		refsEnd := 128 + 4*(len(s.TxRefs)+len(s.RxRefs))
		if !slices.Equal(again[:24], page[:24]) || !slices.Equal(again[128:refsEnd], page[128:refsEnd]) {
			t.Fatal("what was parsed is not what was there")
		}
		if got := binary.LittleEndian.Uint32(page[16:]); int(got) != 4096*len(s.TxRefs) {
			t.Fatalf("%d references of a ring of %d", len(s.TxRefs), got)
		}
	})
}
