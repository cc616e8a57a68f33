package qmux

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// reads is a stream of bytes that comes in pieces of up to most bytes, and counts the calls.
type reads struct {
	bytes.Buffer
	most  int
	rng   *rand.Rand
	calls int
}

func (r *reads) Read(b []byte) (int, error) {
	r.calls++
	if r.rng != nil {
		b = b[:min(len(b), 1+r.rng.IntN(r.most))]
	}
	return r.Buffer.Read(b)
}

func (r *reads) Close() error { return nil }

// TestRecords: records of all sizes come out as they went in, however the bytes are cut, and a stream that ends within one is told from
// one that ends behind it. Of many large ones each takes one call of Read.
func TestRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 63, 64, lookahead - 2, lookahead, lookahead + 1, 1<<14 - 1, 1 << 14, maxRecord - 1, maxRecord, 5, 0, maxRecord}
	for range 40 {
		sizes = append(sizes, rng.IntN(maxRecord), rng.IntN(200))
	}
	write := func(w *reads, sizes []int) (all [][]byte) {
		t.Helper()
		out := Bytes(w)
		for _, size := range sizes {
			b := make([]byte, Headroom+size)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			all = append(all, bytes.Clone(b[Headroom:]))
			if err := out.WriteRecord(b); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	for _, most := range []int{0, 1, 100, 5000, 200_000} {
		r := &reads{most: most}
		if most > 0 {
			r.rng = rng
		}
		all := write(r, sizes)
		in := Bytes(r)
		for i, want := range all {
			if got, err := in.ReadRecord(maxRecord); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("pieces of %d: record %d of %d bytes: %d bytes, %v", most, i, len(want), len(got), err)
			}
		}
		if _, err := in.ReadRecord(maxRecord); err != io.EOF {
			t.Errorf("pieces of %d: %v behind the last record, want EOF", most, err)
		}
	}

	torn := &reads{}
	write(torn, []int{10, 9000})
	torn.Truncate(torn.Len() - 1)
	in := Bytes(torn)
	if _, err := in.ReadRecord(maxRecord); err != nil {
		t.Fatal(err)
	}
	if _, err := in.ReadRecord(maxRecord); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a record that ends early: %v", err)
	}

	const n = 50
	large, full := &reads{}, make([]int, n)
	for i := range full {
		full[i] = maxRecord
	}
	write(large, full)
	in = Bytes(large)
	for range n {
		if _, err := in.ReadRecord(maxRecord); err != nil {
			t.Fatal(err)
		}
	}
	if large.calls > n+1 {
		t.Errorf("%d calls of Read for %d records", large.calls, n)
	}
}
