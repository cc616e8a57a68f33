package repair

import (
	"bytes"
	"net"
	"slices"
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

// TestNoParityIntoQueue: where the round trip says that packets queue, loss is no reason for more of them.
func TestNoParityIntoQueue(t *testing.T) {
	p := &path{choice: choice{seen: learn}}
	now := time.Second
	for _, tt := range []struct {
		rtt    time.Duration
		parity bool
	}{{40 * time.Millisecond, true}, {48 * time.Millisecond, true}, {80 * time.Millisecond, false}, {40 * time.Millisecond, true}} {
		for range 50 {
			now += 100 * time.Millisecond
			p.rtt.add(now, tt.rtt)
			p.loss.add(now, 100, 3, 3, 0)
		}
		if s := p.groups(); s.m > 0 != tt.parity {
			t.Errorf("round trip %v: %d parity frames for %d", tt.rtt, s.m, s.k)
		}
	}
}

// TestPatience: what is missing is waited for as long as it may be asked for, where the round trip is short.
func TestPatience(t *testing.T) {
	for _, tt := range []struct{ rtt, want time.Duration }{
		{time.Millisecond, 150 * time.Millisecond}, {20 * time.Millisecond, 280 * time.Millisecond}, {40 * time.Millisecond, 480 * time.Millisecond},
		{100 * time.Millisecond, 500 * time.Millisecond}, {200 * time.Millisecond, 580 * time.Millisecond}, {time.Second, 800 * time.Millisecond},
	} {
		if got := patience(tt.rtt); got != tt.want {
			t.Errorf("round trip %v: %v, want %v", tt.rtt, got, tt.want)
		}
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

// TestProbeInTurn: a datagram without a number does not overtake those that are missing and were sent before, as QUIC would take them for
// lost then. When they are given up the datagram goes up, and a few at most wait.
func TestProbeInTurn(t *testing.T) {
	var got []string
	memory := &pool{most: 4096}
	r := receiver{pool: &share{pool: memory}, codes: &codes{}, reorder: leastReorder, up: func(inner, oob []byte, _ net.Addr) {
		got = append(got, string(inner)+string(oob))
	}}
	took := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		got = nil
	}
	now := time.Second
	r.unnumbered([]byte("first"), nil, nil)
	r.data(now, 0, []byte("0"), nil, nil, false)
	r.data(now, 2, []byte("2"), nil, nil, false)
	r.unnumbered([]byte("probe"), []byte("+oob"), nil)
	r.data(now, 3, []byte("3"), nil, nil, false)
	took("1 is missing", "first", "0")
	r.data(now, 1, []byte("1"), nil, nil, true)
	took("1 came", "1", "2", "probe+oob", "3")
	r.data(now, 5, []byte("5"), nil, nil, false)
	for range mostParked {
		r.unnumbered([]byte("p"), nil, nil)
	}
	r.unnumbered([]byte("one too many"), nil, nil)
	r.unnumbered(make([]byte, maxInner+1), nil, nil)
	if len(got) != 2 {
		t.Errorf("%d went up at once, want those for which there is no room", len(got))
	}
	got = nil
	r.tick(now+time.Second, 40*time.Millisecond)
	took("4 is given up", "5", "p", "p", "p", "p")
	r.data(now, 7, []byte("7"), nil, nil, false)
	r.unnumbered([]byte("p"), nil, nil)
	r.drop()
	took("the path ends", "7", "p")
	if memory.out != 0 {
		t.Errorf("%d buffers are gone", memory.out)
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
