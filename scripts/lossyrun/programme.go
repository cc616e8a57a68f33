//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A programme of 8 Mbit/s: an object of 76 packets every 100 ms, ten objects a second, which is a group of MoQ and a segment of HLS.
const (
	packetSize   = 1316 // 7 packets of a transport stream, what srt-live-transmit sends at once
	perObject    = 76
	objectSize   = packetSize * perObject
	objectEvery  = 100 * time.Millisecond
	perGroup     = 10
	packetHead   = 16
	leadTime     = 5 * time.Second // of programme before what counts, while sessions begin
	programmeBit = objectSize * 8 / 0.1
)

// noise is what objects are made of, so that nothing on the way can make them smaller.
var noise = func() []byte {
	b := make([]byte, 2*packetSize+1021)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}()

// programme is one broadcast, and when each of its objects was whole at the viewer. Each packet of an object begins with the
// object's number, the packet's, and when the last byte of the object leaves the encoder, from which lateness is counted.
type programme struct {
	start  time.Time
	first  int // the first object that counts
	number int // of objects
	whole  chan struct{}

	mu    sync.Mutex // guards what follows
	late  []time.Duration
	left  int // objects that count and are not here
	wrong int // objects and packets that are not what was sent
	parts map[uint32]*[perObject]bool
}

const never = time.Duration(math.MaxInt64)

func newProgramme(start time.Time, lasts time.Duration) *programme {
	p := &programme{start: start, first: int(leadTime / objectEvery), whole: make(chan struct{}), parts: map[uint32]*[perObject]bool{}}
	p.left = int(lasts / objectEvery)
	p.number = p.first + p.left
	p.late = slices.Repeat([]time.Duration{never}, p.number)
	return p
}

// due is when the last byte of an object leaves the encoder.
func (p *programme) due(i int) time.Time { return p.start.Add(time.Duration(i+1) * objectEvery) }

// end is when all has left the encoder.
func (p *programme) end() time.Time { return p.due(p.number - 1) }

// packet appends one packet of an object.
func (p *programme) packet(b []byte, i, k int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(i))
	b = binary.BigEndian.AppendUint32(b, uint32(k))
	b = binary.BigEndian.AppendUint64(b, uint64(p.due(i).UnixNano()))
	from := (i*perObject + k) % 1021
	return append(b, noise[from:][:packetSize-packetHead]...)
}

// object makes an object.
func (p *programme) object(i int) []byte {
	b := make([]byte, 0, objectSize)
	for k := range perObject {
		b = p.packet(b, i, k)
	}
	return b
}

// came takes an object that is at the viewer since a time.
func (p *programme) came(b []byte, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(b) != objectSize {
		p.wrong++
		return
	}
	i := int(binary.BigEndian.Uint32(b))
	if i >= p.number || !bytes.Equal(b, p.object(i)) {
		p.wrong++
		return
	}
	p.here(i, b, at)
}

// cameOne takes one packet of an object.
func (p *programme) cameOne(b []byte, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(b) != packetSize {
		p.wrong++
		return
	}
	i, k := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if int(i) >= p.number || k >= perObject || !bytes.Equal(b, p.packet(nil, int(i), int(k))) {
		p.wrong++
		return
	}
	got := p.parts[i]
	if got == nil {
		got = new([perObject]bool)
		p.parts[i] = got
	}
	got[k] = true
	if !slices.Contains(got[:], false) {
		delete(p.parts, i)
		p.here(int(i), b, at)
	}
}

// here notes that an object is whole, of which b is a packet; mu is held.
func (p *programme) here(i int, b []byte, at time.Time) {
	if p.late[i] != never {
		return
	}
	p.late[i] = at.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(b[8:]))))
	if i >= p.first {
		if p.left--; p.left == 0 {
			close(p.whole)
		}
	}
}

// objects calls f with each object when it is due, until ctx ends.
func (p *programme) objects(ctx context.Context, f func(i int, b []byte) error) error {
	for i := range p.number {
		b := p.object(i)
		if err := sleep(ctx, p.due(i)); err != nil {
			return err
		}
		if err := f(i, b); err != nil {
			return err
		}
	}
	return nil
}

// packets calls f with each packet, evenly over the time of its object.
func (p *programme) packets(ctx context.Context, f func(b []byte) error) error {
	var b []byte
	for i := range p.number {
		for k := range perObject {
			if err := sleep(ctx, p.due(i).Add(-objectEvery+objectEvery*time.Duration(k+1)/perObject)); err != nil {
				return err
			}
			b = p.packet(b[:0], i, k)
			if err := f(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// figures are what became of the objects that count.
func (p *programme) figures() (f figures) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Sorted(slices.Values(p.late[p.first:]))
	f.Objects, f.Wrong = len(list), p.wrong
	for _, l := range list {
		if l != never {
			f.Whole++
		}
	}
	at := func(q float64) *float64 {
		l := list[max(int(math.Ceil(q*float64(len(list))))-1, 0)]
		if l == never {
			return nil
		}
		ms := math.Round(l.Seconds()*1e4) / 10
		return &ms
	}
	f.P50, f.P95, f.P99, f.Most = at(.5), at(.95), at(.99), at(1)
	return f
}

// figures are a cell of the table: how many objects there were and how many came whole, and how late, in ms; nil is never.
type figures struct {
	Objects int      `json:"objects"`
	Whole   int      `json:"whole"`
	Wrong   int      `json:"wrong,omitempty"` // came, and are not what was sent
	P50     *float64 `json:"p50"`
	P95     *float64 `json:"p95"`
	P99     *float64 `json:"p99"`
	Most    *float64 `json:"most"`
}

// sleep waits until a time, or returns why ctx ended.
func sleep(ctx context.Context, until time.Time) error {
	select {
	case <-time.After(time.Until(until)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
