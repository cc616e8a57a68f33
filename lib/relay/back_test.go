package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// tagged is a group id as chunks of a broadcast have it: a bucket and a tag (docs/format/chunk.md, "Name").
func tagged(bucket uint64) uint64 { return bucket<<16 | bucket*40503&0xffff }

// chunks publishes one group for each bucket.
func (p *publisher) chunks(from, to uint64) {
	p.t.Helper()
	for b := from; b <= to; b++ {
		p.group(tagged(b))
	}
}

// has waits until the groups of these buckets came whole.
func (v *viewer) has(from, to uint64) {
	v.t.Helper()
	wait(v.t, fmt.Sprintf("chunks %d to %d", from, to), func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for b := from; b <= to; b++ {
			if r := v.got[tagged(b)]; r == nil || !isWhole(r) {
				return false
			}
		}
		return true
	})
}

// hasNot checks that none of these came.
func (v *viewer) hasNot(from, to uint64) {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for b := from; b <= to; b++ {
		if v.got[tagged(b)] != nil {
			v.t.Errorf("chunk %d came", b)
		}
	}
}

// A broadcast's clock is set back: both homes go on with lower groups, and so does everybody who watches live, also who came
// after that, here and behind another relay. A filter that begins at a location leaves out what is before it (draft-16 §5.1.2).
func TestClockSetBack(t *testing.T) {
	for _, back := range []uint64{3, 900} { // chunks
		t.Run(fmt.Sprintf("%d chunks", back), func(t *testing.T) {
			s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
			near := edge(t, s.upstream())
			a, b := s.publisher(t, ts), s.publisher(t, ts)
			const at = 1000
			a.chunks(at, at+5)
			s.stored(t, 6*(parts+1))
			near.knows(t, ts.Namespace)
			next := moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}}
			before := []*viewer{s.viewer(t, ts, moqt.SubscribeOptions{}), near.viewer(t, ts, moqt.SubscribeOptions{})}
			filtered := s.viewer(t, ts, next)
			a.chunks(at+6, at+8)
			b.chunks(at+7, at+8)
			s.stored(t, 9*(parts+1))
			wait(t, "the other home", func() bool { return s.Stats().Duplicates == 2*(parts+1) })

			low := at + 8 - back
			again := func(p *publisher, from, to uint64) { // the same time once more, other bytes
				for c := from; c <= to; c++ {
					p.group(tagged(c) ^ 1)
				}
			}
			other := func(v *viewer, from, to uint64) {
				t.Helper()
				wait(t, fmt.Sprintf("chunks %d to %d after the step", from, to), func() bool {
					return v.count(isWhole) > 0 && !slices.ContainsFunc(seq(from, to), func(c uint64) bool {
						v.mu.Lock()
						defer v.mu.Unlock()
						r := v.got[tagged(c)^1]
						return r == nil || !isWhole(r)
					})
				})
			}
			again(a, low, low+1) // a bit before b
			again(b, low, low+2)
			again(a, low+2, low+2)
			for _, v := range before {
				v.has(at+6, at+8)
				other(v, low, low+2)
			}
			after := []*viewer{s.viewer(t, ts, moqt.SubscribeOptions{}), near.viewer(t, ts, moqt.SubscribeOptions{})}
			again(a, low+3, low+20)
			for _, v := range slices.Concat(before, after) {
				other(v, low+3, low+20)
			}
			if back > 40 {
				filtered.has(at+6, at+8)
				if n := filtered.count(func(*received) bool { return true }); n != 3 {
					t.Errorf("%d groups passed a filter that begins behind them", n)
				}
			}
			if st := s.Stats(); st.Conflicts+st.ResetIncomplete+st.ResetLag > 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func seq(from, to uint64) (list []uint64) {
	for c := from; c <= to; c++ {
		list = append(list, c)
	}
	return list
}

// What is uploaded of the past while the track is live is stored, and sent to nobody who watches live.
func TestUploadOfThePastIsNotLive(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	a.chunks(1000, 1002)
	s.stored(t, 3*(parts+1))
	v := s.viewer(t, ts, moqt.SubscribeOptions{})
	b.chunks(10, 14)
	s.stored(t, 8*(parts+1))
	a.chunks(1003, 1004)
	v.has(1003, 1004)
	v.hasNot(10, 14)
}

// How late a group may come is counted in groups, though their ids skip.
func TestLateAmongChunks(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	a.chunks(100, 100)
	s.stored(t, parts+1)
	v := s.viewer(t, ts, from(tagged(100)))
	a.chunks(102, 110) // 101 was damaged
	b.chunks(101, 101)
	v.has(100, 110)
}

// Groups in succession to which a slow reader has not come are counted like any others when the track went back.
func TestLagAfterClockSetBack(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{MaxLag: 5}, store.Config{})
	p := s.publisher(t, ts)
	p.chunks(1000, 1000)
	s.stored(t, parts+1)
	if _, err := s.dial(t, nil).Subscribe(within(t, time.Minute), ts, moqt.SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	bigGroup := func(bucket uint64) {
		p.put(big(tagged(bucket)))
		p.put(&object.Object{Group: tagged(bucket), ID: 1, Status: object.EndOfGroup})
	}
	for b := range uint64(30) {
		bigGroup(500 + b)
	}
	wait(t, "the reader to be too far behind", func() bool { return s.Stats().ResetLag > 0 })
}
