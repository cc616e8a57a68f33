package sim

import (
	"bytes"
	"io"
	"math"
	"testing"
	"testing/iotest"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// packets are views of the packets in b.
func packets(b []byte) []*ts.Packet {
	var all []*ts.Packet
	for ; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
		all = append(all, (*ts.Packet)(b))
	}
	return all
}

// tables feeds the sections of a PID with the table ids given to f, with the clock where they end.
func tables(b []byte, pid ts.PID, f func(section []byte, at clock.PCR), ids ...uint8) {
	var a psi.Assembler
	var now clock.PCR
	for _, p := range packets(b) {
		if v, ok := p.PCR(); ok {
			now = clock.PCR(v)
		}
		if p.PID() != pid {
			continue
		}
		a.Feed(p, func(section []byte) {
			for _, id := range ids {
				if section[0] == id {
					f(section, now)
				}
			}
		})
	}
}

// atscMinute is the whole multiplex.
func atscMinute(t testing.TB) []byte {
	return readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(time.Minute), 0))
}

func impairedBy(t testing.TB, im Impair, b []byte) []byte {
	t.Helper()
	return readAll(t, im.Reader(bytes.NewReader(b)))
}

func TestNoImpairment(t *testing.T) {
	in := atscMinute(t)
	if !bytes.Equal(in, impairedBy(t, Impair{Seed: 7}, in)) {
		t.Error("the zero value changes the stream")
	}
}

func TestImpairmentIsReproducible(t *testing.T) {
	in := atscMinute(t)
	im := Impair{
		Seed: 3, Loss: 1e-3, Burst: 4, TEI: 1e-3, Flip: 1e-3, Cut: 1e-4, TimeLoss: 0.2, TimeJitter: 900 * time.Millisecond,
		RewritePAT: true, RewritePMT: true, StripNull: true, StallEvery: 20 * time.Second, StallFor: time.Second,
	}
	first := impairedBy(t, im, in)
	if !bytes.Equal(first, impairedBy(t, im, in)) {
		t.Error("the same seed gives another stream")
	}
	if !bytes.Equal(first, readAll(t, im.Reader(iotest.HalfReader(bytes.NewReader(in))))) {
		t.Error("the size of reads changes the stream")
	}
	im.Seed = 4
	if bytes.Equal(first, impairedBy(t, im, in)) {
		t.Error("another seed gives the same stream")
	}
}

// missing compares an impaired stream with its source, packet by packet, and returns for each packet of
// the source whether it is missing. Packets must otherwise be unchanged.
func missing(t *testing.T, in, out []byte) []bool {
	t.Helper()
	all, got := packets(in), packets(out)
	gone := make([]bool, len(all))
	j := 0
	for i, p := range all {
		if j < len(got) && *p == *got[j] {
			j++
			continue
		}
		gone[i] = true
	}
	if j != len(got) {
		t.Fatalf("packet %d of the output is not in the input", j)
	}
	return gone
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s: %g, want %g ± %g %%", what, got, want, tolerance*100)
	}
}

func TestLoss(t *testing.T) {
	// One program without null packets: equal packets would make a loss ambiguous.
	in := readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(3*time.Minute), 4))
	for _, c := range []struct {
		name string
		im   Impair
	}{
		{"one by one", Impair{Loss: 0.01}},
		{"in bursts", Impair{Loss: 0.02, Burst: 10}},
		{"much", Impair{Loss: 0.6, Burst: 3}},
		{"of audio", Impair{Loss: 0.05, LossOn: Audio}},
		{"of tables", Impair{Loss: 0.2, LossOn: PSI | SI}},
	} {
		t.Run(c.name, func(t *testing.T) {
			gone := missing(t, in, impairedBy(t, c.im, in))
			known := newClassifier()
			able, lost, runs, last := 0, 0, 0, false
			for i, p := range packets(in) {
				if class := known.of(p); c.im.LossOn != AllClasses && class&c.im.LossOn == 0 {
					if gone[i] {
						t.Fatalf("packet %d of PID %#x is lost", i, p.PID())
					}
					continue
				}
				able++
				if gone[i] {
					lost++
					if !last {
						runs++
					}
				}
				last = gone[i]
			}
			within(t, "share lost", float64(lost)/float64(able), c.im.Loss, 0.15)
			burst := float64(max(c.im.Burst, 1))
			// Bursts that follow each other without a packet between look like one.
			within(t, "packets in a burst", float64(lost)/float64(runs), burst/(1-lossStart(c.im.Loss, int(burst))), 0.15)
		})
	}
	if out := impairedBy(t, Impair{Loss: 1}, in); len(out) != 0 {
		t.Errorf("%d bytes survive a loss of everything", len(out))
	}
}

func TestDamage(t *testing.T) {
	in := readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(2*time.Minute), 4))
	all := packets(in)
	t.Run("TEI", func(t *testing.T) {
		n := 0
		for i, p := range packets(impairedBy(t, Impair{TEI: 0.01}, in)) {
			if p.TransportError() {
				n++
			} else if *p != *all[i] {
				t.Fatalf("packet %d is changed without a mark", i)
			}
		}
		within(t, "share marked", float64(n)/float64(len(all)), 0.01, 0.15)
	})
	t.Run("flip", func(t *testing.T) {
		n := 0
		for i, p := range packets(impairedBy(t, Impair{Flip: 0.01}, in)) {
			bits := 0
			for j := range p {
				for d := p[j] ^ all[i][j]; d != 0; d &= d - 1 {
					bits++
				}
			}
			if bits > 1 {
				t.Fatalf("packet %d has %d wrong bits", i, bits)
			}
			n += bits
		}
		within(t, "share of packets with a wrong bit", float64(n)/float64(len(all)), 0.01, 0.15)
	})
	t.Run("cut", func(t *testing.T) {
		out := impairedBy(t, Impair{Cut: 1e-3}, in)
		if len(out) >= len(in) {
			t.Fatal("nothing is missing")
		}
		r, lost := ts.NewReader(bytes.NewReader(out)), 0
		for {
			_, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				lost++
			}
		}
		within(t, "losses of sync", float64(lost), 1e-3*float64(len(all)), 0.4)
	})
}

func TestTimeTableLoss(t *testing.T) {
	in := readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(10*time.Minute), 4))
	gone := missing(t, in, impairedBy(t, Impair{TimeLoss: 0.2}, in))
	total, lost := 0, 0
	for i, p := range packets(in) {
		if isTime(p) {
			total++
			if gone[i] {
				lost++
			}
		} else if gone[i] {
			t.Fatalf("packet %d of PID %#x is lost, no time table", i, p.PID())
		}
	}
	if total != 600 {
		t.Errorf("%d time tables in 10 minutes", total)
	}
	within(t, "share lost", float64(lost)/float64(total), 0.2, 0.25)
}

func TestTimeTableJitter(t *testing.T) {
	const jitter = 900 * time.Millisecond
	for _, c := range []struct {
		name string
		mux  *Mux
		pid  ts.PID
	}{{"STT", DefaultMuxes()[0], ts.PIDPSIP}, {"TDT and TOT", DefaultMuxes()[1], ts.PIDTDT}} {
		t.Run(c.name, func(t *testing.T) {
			c.mux.TDTEvery = time.Second
			in := readAll(t, c.mux.Reader(noon, noon.Add(2*time.Minute), 0))
			out := impairedBy(t, Impair{TimeJitter: jitter}, in)
			if len(in) != len(out) {
				t.Errorf("%d bytes in, %d out", len(in), len(out))
			}
			late := func(b []byte) (all []time.Duration) {
				zero := c.mux.offset(0)
				tables(b, c.pid, func(section []byte, at clock.PCR) {
					utc, ok := psi.TableUTC(section)
					if !ok {
						t.Fatal("no time")
					}
					all = append(all, at.Sub((clock.TicksAt(utc) + zero).PTS().PCR()).Duration())
				}, psi.TableSTT, psi.TableTDT, psi.TableTOT)
				return all
			}
			for i, d := range late(in) {
				if d < -50*time.Millisecond || d > 550*time.Millisecond { // a TOT at 0.5 s can only say 0
					t.Errorf("table %d is %s late without impairment", i, d)
				}
			}
			most, sum, count := time.Duration(0), time.Duration(0), 0
			for i, d := range late(out) {
				most, sum, count = max(most, d), sum+d, count+1
				if d < -50*time.Millisecond || d > jitter+600*time.Millisecond {
					t.Errorf("table %d is %s late", i, d)
				}
			}
			if count < 110 || most < jitter*8/10 || sum/time.Duration(count) < jitter*3/10 {
				t.Errorf("%d tables, up to %s late, %s on average", count, most, sum/time.Duration(count))
			}
			var cc ts.Continuity
			for i, p := range packets(out) {
				if e := cc.Check(p); e != ts.Ok {
					t.Fatalf("packet %d of PID %#x: %s", i, p.PID(), e)
				}
			}
		})
	}
}

func TestStripping(t *testing.T) {
	in := atscMinute(t)
	for _, c := range []struct {
		name string
		im   Impair
		gone func(ts.PID) bool
	}{
		{"null", Impair{StripNull: true}, func(pid ts.PID) bool { return pid == ts.PIDNull }},
		{"SI", Impair{StripSI: true}, func(pid ts.PID) bool { return pid == ts.PIDPSIP || pid&^3 == eitPID }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []byte
			for _, p := range packets(in) {
				if !c.gone(p.PID()) {
					want = append(want, p[:]...)
				}
			}
			got := impairedBy(t, c.im, in)
			if !bytes.Equal(want, got) || len(got) == len(in) {
				t.Errorf("%d packets in, %d out, want %d", len(in)/188, len(got)/188, len(want)/188)
			}
		})
	}
}

func TestRewriting(t *testing.T) {
	in := readAll(t, DefaultMuxes()[1].Reader(noon.Add(30*time.Millisecond), noon.Add(time.Minute), 0))
	out := impairedBy(t, Impair{RewritePAT: true, RewritePMT: true, TSID: 9}, in)
	if len(in) != len(out) {
		t.Fatalf("%d bytes in, %d out", len(in), len(out))
	}
	pats, moved := 0, false
	tables(out, ts.PIDPAT, func(section []byte, _ clock.PCR) {
		pats++
		p, err := psi.ParsePAT(section)
		if err != nil || p.Version != 1 || p.TSID != 9 || p.NIT != 0 || len(p.Programs) != 3 {
			t.Fatalf("PAT %+v, %v", p, err)
		}
	}, psi.TablePAT)
	pmts := 0
	tables(out, 0x100, func(section []byte, _ clock.PCR) {
		pmts++
		p, err := psi.ParsePMT(section)
		if err != nil || p.Version != 1 || len(p.Streams) != 2 {
			t.Fatalf("PMT %+v, %v", p, err)
		}
	}, psi.TablePMT)
	if pats < 1190 || pmts < 1190 {
		t.Errorf("%d PATs, %d PMTs in a minute", pats, pmts)
	}
	var cc ts.Continuity
	source := packets(in)
	for i, p := range packets(out) {
		if e := cc.Check(p); e != ts.Ok {
			t.Fatalf("packet %d of PID %#x: %s", i, p.PID(), e)
		}
		q := source[i]
		if p.PID() == ts.PIDPAT && p.Continuity() != q.Continuity() {
			moved = true
		}
		if pid := p.PID(); pid != ts.PIDPAT && pid&^0x30 != 0x100 && *p != *q {
			t.Fatalf("packet %d of PID %#x is changed", i, pid)
		}
	}
	if !moved {
		t.Error("the PAT keeps its continuity counters")
	}
}

func TestStallAndDrop(t *testing.T) {
	in := atscMinute(t)
	var last clock.PCR
	var gaps []time.Duration
	started := false
	for _, p := range packets(impairedBy(t, Impair{StallEvery: 20 * time.Second, StallFor: 3 * time.Second}, in)) {
		if v, ok := p.PCR(); ok {
			if d := clock.PCR(v).Sub(last).Duration(); started && d > 100*time.Millisecond {
				gaps = append(gaps, d)
			}
			last, started = clock.PCR(v), true
		}
	}
	if len(gaps) != 2 || (gaps[0]-3*time.Second).Abs() > 100*time.Millisecond {
		t.Errorf("gaps of %v in a minute, want two of 3 s", gaps)
	}
	out := impairedBy(t, Impair{Drop: 15 * time.Second}, in)
	if !bytes.HasPrefix(in, out) {
		t.Error("a dropped stream is changed before its end")
	}
	within(t, "bytes before the drop", float64(len(out)), float64(len(in))/4, 0.02)
}

func TestImpairValidate(t *testing.T) {
	for _, im := range []Impair{{Loss: 1.5}, {TEI: -1}, {Flip: math.NaN()}, {Burst: -1}, {TSID: 70000}, {Drop: -1}} {
		if im.Validate() == nil {
			t.Errorf("%+v is accepted", im)
		}
		if _, err := im.Reader(bytes.NewReader(nil)).Read(make([]byte, 188)); err == nil || err == io.EOF {
			t.Errorf("%+v: reading gives %v", im, err)
		}
	}
}

func BenchmarkImpair(b *testing.B) {
	in := readAll(b, DefaultMuxes()[0].Reader(noon, noon.Add(20*time.Second), 0))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		r := Impair{Loss: 1e-4, TEI: 1e-4, TimeJitter: 900 * time.Millisecond, RewritePAT: true}.Reader(bytes.NewReader(in))
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever arrives, an impairment neither panics nor makes packets of another length.
func FuzzImpair(f *testing.F) {
	f.Add(uint64(1), readAll(f, DefaultMuxes()[1].Reader(noon, noon.Add(50*time.Millisecond), 0)))
	f.Add(uint64(2), readAll(f, DefaultMuxes()[0].Reader(noon, noon.Add(20*time.Millisecond), 0)))
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		im := Impair{
			Seed: seed, Loss: 0.1, Burst: 2, TEI: 0.1, Flip: 0.1, TimeLoss: 0.5, TimeJitter: time.Second,
			RewritePAT: true, RewritePMT: true, TSID: 5,
		}
		out, _ := io.ReadAll(im.Reader(bytes.NewReader(b)))
		if len(out)%ts.PacketSize != 0 {
			t.Errorf("%d bytes are no whole packets", len(out))
		}
		if bytes.Contains(b, []byte{ts.SyncByte}) {
			im.Cut = 0.5
			io.Copy(io.Discard, im.Reader(bytes.NewReader(b)))
		}
	})
}
