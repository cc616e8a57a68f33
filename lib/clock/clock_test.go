package clock

import (
	"math/big"
	"testing"
	"time"
)

func TestPTSSub(t *testing.T) {
	for _, c := range []struct {
		name string
		p, q PTS
		want Ticks
	}{
		{"same", 5, 5, 0},
		{"later", 10, 7, 3},
		{"earlier", 7, 10, -3},
		{"across the wrap", 1, Wrap - 1, 2},
		{"back across the wrap", Wrap - 1, 1, -2},
		{"as far as it goes", Wrap / 2, 0, -Wrap / 2},
		{"almost as far", Wrap/2 - 1, 0, Wrap/2 - 1},
	} {
		if got := c.p.Sub(c.q); got != c.want {
			t.Errorf("%s: %d − %d = %d, want %d", c.name, c.p, c.q, got, c.want)
		}
		if got := c.q.Add(c.want); got != c.p {
			t.Errorf("%s: %d + %d = %d, want %d", c.name, c.q, c.want, got, c.p)
		}
	}
}

func TestPCRSub(t *testing.T) {
	for _, c := range []struct {
		name string
		p, q PCR
		want Ticks27
	}{
		{"later", 10, 7, 3},
		{"across the wrap", 100, SystemWrap - 200, 300},
		{"back across the wrap", SystemWrap - 200, 100, -300},
		{"half way", SystemWrap / 2, 0, -SystemWrap / 2},
	} {
		if got := c.p.Sub(c.q); got != c.want {
			t.Errorf("%s: %d − %d = %d, want %d", c.name, c.p, c.q, got, c.want)
		}
		if got := c.q.Add(c.want); got != c.p {
			t.Errorf("%s: %d + %d = %d, want %d", c.name, c.q, c.want, got, c.p)
		}
	}
	if got := PCR(SystemWrap - 1).PTS(); got != Wrap-1 {
		t.Errorf("PTS of the last PCR is %d", got)
	}
	if got := PTS(90000).PCR(); got != SystemHz {
		t.Errorf("PCR of one second is %d", got)
	}
}

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		t    Ticks
		want time.Duration
	}{
		{0, 0}, {90000, time.Second}, {180000, 2 * time.Second}, {9, 100 * time.Microsecond},
		{-90000, -time.Second}, {1, 11111}, {-1, -11112},
	} {
		if got := c.t.Duration(); got != c.want {
			t.Errorf("%d ticks are %v, want %v", c.t, got, c.want)
		}
	}
	if got := Ticks27(-27).Duration(); got != -time.Microsecond {
		t.Errorf("−27 ticks of 27 MHz are %v", got)
	}
	if got := Ticks27(SystemWrap).Duration(); got != 95443717688888 {
		t.Errorf("a PCR wrap is %v", got)
	}
	for _, d := range []time.Duration{2 * time.Second, 200 * time.Millisecond, time.Hour, -time.Second} {
		if got := TicksOf(d).Duration(); got != d {
			t.Errorf("%v becomes %v", d, got)
		}
	}
	at := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	if got := TicksAt(at).Time(); !got.Equal(at) {
		t.Errorf("%v becomes %v", at, got)
	}
}

func TestReferenceAt(t *testing.T) {
	utc := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		pcr  PCR
		pts  PTS
		want time.Duration
	}{
		{"a second after", 27_000_000, 180_000, time.Second},
		{"a second before", 54_000_000, 90_000, -time.Second},
		{"across the wrap", SystemWrap - 27_000_000, 90_000, 2 * time.Second},
		{"before the wrap", 27_000_000, Wrap - 90_000, -2 * time.Second},
	} {
		if got := (Reference{utc, c.pcr}).At(c.pts).Sub(utc); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

var epochs = []time.Time{
	time.Unix(0, 0),
	time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC),
	time.Date(2019, 1, 22, 12, 51, 9, 0, time.UTC),
	time.Date(2026, 11, 23, 2, 0, 0, 123456789, time.UTC),
	time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC),
	time.Date(2038, 4, 23, 0, 0, 0, 0, time.UTC),
	time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC),
}

// Extend against its definition in rational numbers: x ≡ p (mod 2^33) and |x/90000 − utc| is least.
func TestExtend(t *testing.T) {
	wrap := big.NewInt(Wrap)
	for _, utc := range epochs {
		u := TicksAt(utc)
		for _, d := range []Ticks{0, 1, -1, 12345, -98765, Wrap / 4, -Wrap / 4, Wrap/2 - 1, -Wrap / 2, -Wrap/2 + 1} {
			p := (u + d).PTS()
			x := Extend(p, utc)
			if x.PTS() != p {
				t.Fatalf("Extend(%d, %v) = %d is not of that PTS", p, utc, x)
			}
			dist := func(k int64) *big.Int { // |x + k·2^33 − utc| in ns·90000
				v := new(big.Int).Mul(wrap, big.NewInt(k))
				v.Add(v, big.NewInt(int64(x)))
				v.Mul(v, big.NewInt(1e9))
				n := new(big.Int).Mul(big.NewInt(utc.Unix()), big.NewInt(1e9))
				n.Add(n, big.NewInt(int64(utc.Nanosecond())))
				n.Mul(n, big.NewInt(Hz))
				return v.Sub(v, n).Abs(v)
			}
			at := dist(0)
			// One tick of slack: utc is taken in whole ticks.
			slack := new(big.Int).Add(at, big.NewInt(-2e9))
			if dist(1).Cmp(slack) < 0 || dist(-1).Cmp(slack) < 0 {
				t.Errorf("Extend(%d, %v) = %d is not the nearest", p, utc, x)
			}
			if d > -Wrap/2 && x != u+d {
				t.Errorf("Extend(%d, %v) = %d, want %d", p, utc, x, u+d)
			}
		}
	}
}

// The table only picks k: it may be hours off without changing x.
func TestExtendIgnoresTableError(t *testing.T) {
	utc := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	p := TicksAt(utc).PTS()
	want := Extend(p, utc)
	for _, off := range []time.Duration{time.Millisecond, time.Second, time.Hour, 13 * time.Hour} {
		if Extend(p, utc.Add(off)) != want || Extend(p, utc.Add(-off)) != want {
			t.Errorf("a table %v off changes x", off)
		}
	}
	if Extend(p, utc.Add(14*time.Hour)) == want {
		t.Error("a table 14 h off does not change x; half a wrap is 13 h 15 min")
	}
}

func TestBucket(t *testing.T) {
	for _, c := range []struct {
		x, d Ticks
		want int64
	}{
		{0, 180000, 0}, {179999, 180000, 0}, {180000, 180000, 1},
		{-1, 180000, -1}, {-180000, 180000, -1}, {-180001, 180000, -2}, {5, 0, 0}, {5, -1, 0},
	} {
		if got := Bucket(c.x, c.d); got != c.want {
			t.Errorf("Bucket(%d, %d) = %d, want %d", c.x, c.d, got, c.want)
		}
	}
}

func TestTimeline(t *testing.T) {
	for _, utc := range epochs {
		for _, c := range []struct {
			name  string
			ahead time.Duration // how far utc is ahead of x
			hours int
		}{
			{"in step", 0, 0},
			{"just before the edge", 30*time.Minute - time.Millisecond, 0},
			{"at the edge", 30 * time.Minute, 1},
			{"behind", -5 * time.Hour, -5},
			{"behind, at the edge", -5*time.Hour - 30*time.Minute, -5},
			{"behind, past the edge", -5*time.Hour - 30*time.Minute - time.Millisecond, -6},
			{"near the wrap", 13*time.Hour + 14*time.Minute, 13},
			{"near the wrap, behind", -13*time.Hour - 14*time.Minute, -13},
		} {
			x := TicksAt(utc.Add(-c.ahead))
			if hours := Timeline(utc, x); hours != c.hours {
				t.Errorf("%v, %s: %d, want %d", utc, c.name, hours, c.hours)
			}
			if x2 := Extend(x.PTS(), utc); x2 != x {
				t.Errorf("%v, %s: Extend gives %d, want %d", utc, c.name, x2, x)
			}
		}
	}
}

func TestTimelineName(t *testing.T) {
	if TimelineName(0) != "t13" || TimelineName(-13) != "t00" || TimelineName(13) != "t26" {
		t.Error("t13 is zero, t00 is −13, t26 is 13")
	}
}

func TestGrid(t *testing.T) {
	for _, d := range []Ticks{18_000, 180_000, 180_180, 5_400_000, Wrap} {
		g := Grid(d)
		for _, c := range []struct {
			name    string
			x       Ticks
			k, part int64
		}{
			{"the first", 0, 0, 0},
			{"the end of the first", d - 1, 0, 0},
			{"the last before a wrap", 7*Wrap - 1, 6, g.Buckets() - 1},
			{"the first after it", 7 * Wrap, 7, 0},
			{"before the epoch", -1, -1, g.Buckets() - 1},
		} {
			got := g.Of(c.x)
			if want := c.k*g.Buckets() + c.part; got != want {
				t.Errorf("grid %d, %s: bucket %d, want %d", d, c.name, got, want)
			}
			if start := g.Start(got); start > c.x || g.Of(start) != got || g.Of(start-1) != got-1 {
				t.Errorf("grid %d, %s: bucket %d starts at %d", d, c.name, got, start)
			}
		}
		if n := Ticks(g.Buckets()); n*d < Wrap || (n-1)*d >= Wrap {
			t.Errorf("grid %d: %d buckets", d, n)
		}
	}
	if g := Grid(180_000); !g.Same(0, 179_999) || g.Same(179_999, 180_000) || g.Same(Wrap-1, 0) {
		t.Error("two time stamps are in one bucket or not")
	}
	if id := GroupID(897_720_256, 0xbeef); id != 897_720_256<<16|0xbeef || GroupBucket(id) != 897_720_256 || GroupID(-5, 1) != 1 {
		t.Errorf("group id %d", id)
	}
}

func FuzzExtend(f *testing.F) {
	f.Add(uint64(0), int64(0), int64(0))
	f.Add(uint64(1)<<33-1, int64(4294967296), int64(999999999))
	f.Fuzz(func(t *testing.T, p uint64, sec, ns int64) {
		utc := time.Unix(sec%(1<<36), ns)
		x := Extend(PTS(p), utc)
		if x.PTS() != PTS(p&(Wrap-1)) {
			t.Fatal("x is not of that PTS")
		}
		if d := TicksAt(utc) - x; d < -Wrap/2 || d > Wrap/2 {
			t.Fatalf("x is %d ticks from utc", d)
		}
		if h := Timeline(utc, x); h < -MaxTimeline || h > MaxTimeline {
			t.Fatalf("timeline %d", h)
		}
	})
}
