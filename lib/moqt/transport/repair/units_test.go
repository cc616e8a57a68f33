package repair

import (
	"bytes"
	"testing"
	"time"
)

func TestExpand(t *testing.T) {
	for _, tt := range []struct {
		low  uint32
		near uint64
		want uint64
	}{
		{0, 0, 0}, {5, 0, 5}, {5, 7, 5}, {0xffffffff, 1 << 32, 1<<32 - 1}, {1, 1<<32 - 2, 1<<32 + 1}, {7, 3<<32 + 9, 3<<32 + 7}, {0xfffffff0, 3, 0xfffffff0},
	} {
		if got := expand(tt.low, tt.near); got != tt.want {
			t.Errorf("%#x near %#x: %#x, want %#x", tt.low, tt.near, got, tt.want)
		}
	}
}

func TestWindow(t *testing.T) {
	var w window
	for _, tt := range []struct {
		num  uint64
		want bool
	}{{0, true}, {0, false}, {2, true}, {1, true}, {1, false}, {100, true}, {36, false}, {37, true}, {37, false}, {300, true}, {100, false}} {
		if got := w.fresh(tt.num); got != tt.want {
			t.Errorf("%d: %v", tt.num, got)
		}
	}
}

// TestParityFollowsLoss: none without loss, more with more, more where losses come together.
func TestParityFollowsLoss(t *testing.T) {
	near := 40 * time.Millisecond
	with := func(lost, runs float64) *loss {
		l := &loss{}
		l.add(time.Second, 1000, lost, runs, 0)
		return l
	}
	if m := with(0, 0).parityFor(20, near); m != 0 {
		t.Errorf("%d parity frames without loss", m)
	}
	last := 0
	for _, lost := range []float64{1, 10, 30, 50, 100, 200} {
		m := with(lost, lost).parityFor(20, near)
		if m < last || m == 0 {
			t.Errorf("%v of 1000: %d parity frames, before %d", lost, m, last)
		}
		last = m
		if long := with(lost, lost).parityFor(20, 200*time.Millisecond); long < m {
			t.Errorf("%v of 1000: %d on a long path, %d on a short one", lost, long, m)
		}
	}
	if one, many := with(50, 50).parityFor(20, near), with(50, 12).parityFor(20, near); many <= one {
		t.Errorf("%d for bursts, %d without", many, one)
	}
}

// TestBreakerOpens: loss opens it only with a longer round trip, and then for longer each time.
func TestBreakerOpens(t *testing.T) {
	var l loss
	var r rtt
	var b breaker
	now := time.Second
	step := func(lost float64, d time.Duration) {
		now += 100 * time.Millisecond
		r.add(now, d)
		l.add(now, 70, lost, lost, 0)
		b.look(now, &l, &r)
	}
	for range 100 {
		step(7, 40*time.Millisecond)
	}
	if b.opens > 0 {
		t.Fatal("opened by loss alone")
	}
	for range 100 {
		step(0, 90*time.Millisecond)
	}
	if b.opens > 0 {
		t.Fatal("opened by a long queue alone")
	}
	for range 12 {
		step(7, 90*time.Millisecond)
	}
	if b.opens == 0 || !b.open(now) {
		t.Fatal("not opened")
	}
	first := b.pause
	for range 100 {
		step(7, 90*time.Millisecond)
	}
	if b.pause <= first || b.pause > longBreak {
		t.Errorf("%v after %v", b.pause, first)
	}
}

// TestTags: each bit of a frame, of its number and of its index is covered.
func TestTags(t *testing.T) {
	up, down, err := sealers([]byte("secret"), bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	f := up.seal(append(head{typeData, up.path, 7}.append(nil), 0x40, 1, 2), 0, 0, 7)
	if !up.open(f, 0, 7) || up.open(f, 1, 7) || up.open(f, 0, 7+1<<32) || down.open(f, 0, 7) {
		t.Error("the wrong frames are taken")
	}
	for i := range 8 * len(f) {
		f[i/8] ^= 1 << (i % 8)
		if up.open(f, 0, 7) {
			t.Errorf("bit %d is not covered", i)
		}
		f[i/8] ^= 1 << (i % 8)
	}
}

func BenchmarkData(b *testing.B) {
	up, _, err := sealers([]byte("secret"), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	tx := sender{pool: &share{pool: &pool{most: 4096}}, codes: &codes{}, seal: up, shape: shape{20, 2, time.Hour}}
	tx.starts()
	inner, out := make([]byte, 1400), make([]byte, 0, 2000)
	b.SetBytes(1400)
	for b.Loop() {
		tx.data(out, time.Second, inner)
		if tx.due(time.Second) {
			tx.endGroup()
			for len(tx.ready) > 0 {
				tx.parity(out, true)
			}
		}
	}
}
