package home

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"every.channel/ec/lib/ts"
)

// TestSplitter: whatever the pieces in which a stream comes, each queue gets whole packets and all bytes; the rest of a packet that was cut
// goes nowhere.
func TestSplitter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	stream := make([]byte, 5000*ts.PacketSize)
	for i := range stream {
		stream[i] = byte(r.Uint32())
	}
	a, b := newQueue(), newQueue()
	s := &splitter{queues: func() []*queue { return []*queue{a, b} }}
	for rest := append(stream[:len(stream):len(stream)], 1, 2, 3); len(rest) > 0; {
		n := min(1+r.IntN(2*blockSize), len(rest))
		s.Write(rest[:n])
		rest = rest[n:]
	}
	s.cut()
	for _, q := range []*queue{a, b} {
		var got []byte
		for q.bytes > 0 {
			b, err := q.next(context.Background())
			if err != nil || len(b.b)%ts.PacketSize != 0 {
				t.Fatalf("a block of %d bytes, %v", len(b.b), err)
			}
			got = append(got, b.b...)
			b.release()
		}
		if !bytes.Equal(got, stream) {
			t.Errorf("%d bytes came of %d, or others", len(got), len(stream))
		}
	}
}

// TestQueueIsBounded: a channel whose ec-chop has stopped costs a bounded memory, and the others nothing.
func TestQueueIsBounded(t *testing.T) {
	stuck, fine := newQueue(), newQueue()
	s := &splitter{queues: func() []*queue { return []*queue{stuck, fine} }}
	piece := make([]byte, blockSize)
	const pieces = 3 * maxQueued / blockSize
	for range pieces {
		s.Write(piece)
		b, err := fine.next(context.Background())
		if err != nil || len(b.b) != blockSize {
			t.Fatal(len(b.b), err)
		}
		b.release()
	}
	if stuck.bytes > maxQueued || fine.lost() != 0 {
		t.Errorf("%d bytes wait, %d were lost elsewhere", stuck.bytes, fine.lost())
	}
	if lost := stuck.lost(); lost != pieces*blockSize-int64(stuck.bytes) || stuck.lost() != 0 {
		t.Errorf("%d bytes lost, %d wait, of %d", lost, stuck.bytes, pieces*blockSize)
	}
	stuck.close()
	s.Write(piece)
	if lost := stuck.lost(); lost != 0 || fine.lost() != 0 {
		t.Errorf("%d bytes are lost of a channel that nobody cuts", lost)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if b, err := stuck.next(ctx); err == nil {
		t.Errorf("%d bytes after close", len(b.b))
	}
}

// BenchmarkSplitter: one multiplex for four channels, allocations included.
func BenchmarkSplitter(b *testing.B) {
	queues := []*queue{newQueue(), newQueue(), newQueue(), newQueue()}
	s := &splitter{queues: func() []*queue { return queues }}
	piece := make([]byte, 32<<10)
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		s.Write(piece)
		for _, q := range queues {
			for len(q.waiting) > 0 {
				bl, _ := q.next(context.Background())
				bl.release()
			}
		}
	}
}

func TestParse(t *testing.T) {
	e, ok := parse("ec-pub", []byte(`{"time":"2026-11-30T09:17:28Z","level":"WARN","msg":"relay lost, trying again","relay":"moqt://r","err":"x"}`+"\n"))
	if !ok || e.level.String() != "WARN" || e.text("err") != "x" || len(e.attrs) != 4 || e.attrs[0] != "relay" {
		t.Errorf("%+v", e)
	}
	if e, ok := parse("ec-pub", []byte("panic: oh\n")); !ok || e.msg != "panic: oh" || e.level.String() != "ERROR" {
		t.Errorf("%+v", e)
	}
	if _, ok := parse("ec-pub", []byte(" \n")); ok {
		t.Error("an empty line is an event")
	}
}
