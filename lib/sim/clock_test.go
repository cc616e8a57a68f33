package sim

import (
	"testing"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// at is the time that a PCR says, on a clock that is offset ahead of UTC, near a given time.
func at(v clock.PCR, offset clock.Ticks, near time.Time) time.Time {
	return (clock.Extend(v.PTS(), near.Add(offset.Duration())) - offset).Time()
}

// Everything in the stream is on one clock: PCR by position, time tables by PCR, decoding after arrival.
func TestClockIsUTC(t *testing.T) {
	for _, m := range DefaultMuxes() {
		t.Run(m.Name, func(t *testing.T) {
			p := mustPlan(t, m)
			start := p.position(noon)
			b := readAll(t, m.Reader(noon, noon.Add(30*time.Second), 0))
			offset := clock.TicksOf(m.Offset)
			var sections psi.Assembler
			times := 0
			for i, q := range packets(b) {
				now := p.timeOf(start + int64(i))
				if v, ok := q.PCR(); ok {
					if d := at(clock.PCR(v), offset, now).Sub(now); d.Abs() > 20*time.Microsecond {
						t.Fatalf("packet %d: PCR is off by %s", i, d)
					}
				}
				if pid := q.PID(); pid == ts.PIDPSIP || pid == ts.PIDTDT {
					sections.Feed(q, func(section []byte) {
						if utc, ok := psi.TableUTC(section); ok {
							times++
							if d := now.Sub(utc); d < 0 || d > 30*time.Millisecond {
								t.Errorf("table %#x at %s says %s", section[0], now, utc)
							}
						}
					})
				}
				if q.UnitStart() && !q.Scrambled() {
					h, err := ts.ParsePES(q.Payload())
					if err != nil {
						continue // a section
					}
					dts := at(clock.PTS(h.DTS).PCR(), offset, now)
					if d := dts.Sub(now); d < 250*time.Millisecond || d > 800*time.Millisecond {
						t.Fatalf("packet %d of PID %#x arrives %s before it is decoded", i, q.PID(), d)
					}
					if d := clock.PTS(h.PTS).Sub(clock.PTS(h.DTS)); d < 0 || d > clock.Hz/2 {
						t.Fatalf("packet %d of PID %#x: PTS − DTS = %d", i, q.PID(), d)
					}
				}
			}
			want := 30
			switch {
			case m.NoTime:
				want = 0
			case m.Standard == DVB:
				want = 6
			}
			if times != want {
				t.Errorf("%d time tables in 30 s, want %d", times, want)
			}
		})
	}
}

func TestWrapAt(t *testing.T) {
	m := DefaultMuxes()[0]
	m.WrapAt = noon.Add(10 * time.Second)
	wraps := 0
	var last clock.PCR
	p := mustPlan(t, m)
	start := p.position(noon)
	for i, q := range packets(readAll(t, m.Reader(noon, noon.Add(20*time.Second), 0))) {
		v, ok := q.PCR()
		if !ok || q.PID() != m.Services[0].pcrPID() {
			continue
		}
		if clock.PCR(v) < last {
			wraps++
			if d := p.timeOf(start + int64(i)).Sub(m.WrapAt); d < 0 || d > 40*time.Millisecond {
				t.Errorf("the PCR wraps %s late", d)
			}
			if d := clock.PCR(v).Sub(last); d > clock.SystemHz/20 {
				t.Errorf("the PCR jumps by %s where it wraps", d.Duration())
			}
		}
		last = clock.PCR(v)
	}
	if wraps != 1 {
		t.Errorf("the PCR wraps %d times", wraps)
	}
}

func TestJump(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for _, by := range []time.Duration{time.Hour, -10 * time.Second} {
			m := DefaultMuxes()[0]
			m.Jump = Jump{Every: 10 * time.Second, By: by, Silent: silent}
			type found struct {
				at     int64
				marked bool
			}
			jumps := func(from time.Time) (all []found) {
				start := mustPlan(t, m).position(from)
				var last clock.PCR
				started := false
				for i, q := range packets(readAll(t, m.Reader(from, noon.Add(35*time.Second), 0))) {
					v, ok := q.PCR()
					if !ok || q.PID() != m.Services[1].pcrPID() {
						continue
					}
					d := clock.PCR(v).Sub(last).Duration()
					if started && (d < 0 || d > time.Second) {
						all = append(all, found{start + int64(i), q.Discontinuity()})
						if (d - by).Abs() > 50*time.Millisecond {
							t.Errorf("jump by %s, want %s", d, by)
						}
					} else if started && q.Discontinuity() {
						t.Errorf("discontinuity_indicator without a jump")
					}
					last, started = clock.PCR(v), true
				}
				return all
			}
			early, late := jumps(noon.Add(time.Second)), jumps(noon.Add(14*time.Second))
			if len(early) != 3 || len(late) != 2 {
				t.Fatalf("by %s: jumps at %v and %v, want 3 and 2", by, early, late)
			}
			for i, j := range late {
				if j != early[1+i] {
					t.Errorf("two receivers see different jumps, %v and %v", j, early[1+i])
				}
				if j.marked == silent {
					t.Errorf("silent %v, discontinuity_indicator %v", silent, j.marked)
				}
			}
		}
	}
}

// What ETSI TR 101 290 and A/65 want repeated, and how often.
func TestIntervals(t *testing.T) {
	for _, m := range DefaultMuxes() {
		t.Run(m.Name, func(t *testing.T) {
			p := mustPlan(t, m)
			b := readAll(t, m.Reader(noon, noon.Add(45*time.Second), 0))
			worst := map[string]time.Duration{}
			last := map[string]time.Time{}
			see := func(what string, now time.Time) {
				if before, ok := last[what]; ok {
					worst[what] = max(worst[what], now.Sub(before))
				}
				last[what] = now
			}
			start := p.position(noon)
			for i, q := range packets(b) {
				now := p.timeOf(start + int64(i))
				if _, ok := q.PCR(); ok && q.PID() == m.Services[0].pcrPID() {
					see("PCR", now)
				}
				if !q.UnitStart() {
					continue
				}
				if body := q.Payload(); body[0] == 0 {
					switch pid := q.PID(); {
					case pid == m.Services[0].PID:
						see("PMT", now)
					case pid < 0x20 || pid == ts.PIDPSIP || pid == eitPID:
						see(map[byte]string{
							psi.TablePAT: "PAT", psi.TableNIT: "NIT", psi.TableSDT: "SDT", psi.TableDVBEIT: "EIT", psi.TableTDT: "TDT",
							psi.TableTOT: "TOT", psi.TableMGT: "MGT", psi.TableTVCT: "VCT", psi.TableSTT: "STT", psi.TableEIT: "EIT",
						}[body[1]], now)
					}
				}
			}
			limits := map[string]time.Duration{
				"PCR": 40 * time.Millisecond, "PAT": 100 * time.Millisecond, "PMT": 100 * time.Millisecond,
			}
			switch {
			case m.Standard == DVB:
				limits["NIT"], limits["SDT"], limits["EIT"] = 10*time.Second, 2*time.Second, 2*time.Second
				limits["TDT"], limits["TOT"] = 30*time.Second, 30*time.Second
			default:
				limits["MGT"], limits["VCT"], limits["EIT"] = 150*time.Millisecond, 401*time.Millisecond, 500*time.Millisecond
				if !m.NoTime {
					limits["STT"] = 1010 * time.Millisecond
				}
			}
			for what, limit := range limits {
				if m.Services[0].Dead && what == "PCR" {
					continue
				}
				if worst[what] == 0 || worst[what] > limit {
					t.Errorf("%s comes every %s at worst, want %s", what, worst[what], limit)
				}
			}
			for what := range worst {
				if limits[what] == 0 {
					t.Errorf("unexpected table %q", what)
				}
			}
		})
	}
}

func TestEventsFollowUTC(t *testing.T) {
	titles := func(at time.Time) (all []string) {
		m := DefaultMuxes()[1]
		tables(readAll(t, m.Reader(at, at.Add(3*time.Second), 0)), ts.PIDEIT, func(section []byte, _ clock.PCR) {
			e, err := psi.ParseDVBEIT(section)
			if err != nil || len(e.Events) != 1 {
				t.Fatalf("EIT %+v, %v", e, err)
			}
			if _, name, _ := e.Events[0].Short(); e.ServiceID == 28006 && len(all) < 2 {
				all = append(all, name)
			}
		}, psi.TableDVBEIT)
		return all
	}
	for at, want := range map[time.Duration][2]string{
		0:                {"EC Eins at 12:00 UTC", "EC Eins at 12:30 UTC"},
		29 * time.Minute: {"EC Eins at 12:00 UTC", "EC Eins at 12:30 UTC"},
		31 * time.Minute: {"EC Eins at 12:30 UTC", "EC Eins at 13:00 UTC"},
	} {
		if got := titles(noon.Add(at)); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
}

// Titles of the ATSC guide are Huffman coded (A/65 annex C), and a guide is equally long at any time all the same.
func TestATSCTitlesAreCompressed(t *testing.T) {
	m := DefaultMuxes()[0]
	long, all, shorter := 0, 0, 0
	for at := noon; at.Before(noon.Add(24 * time.Hour)); at = at.Add(blockTime) {
		for i, s := range m.Services {
			section := atscEIT(nil, m, 0, i, at)
			if long == 0 {
				long = len(section)
			}
			if i == 0 && len(section) != long {
				t.Errorf("at %s the EIT of %s is %d bytes long, want %d", at, s.Name, len(section), long)
			}
			eit, err := psi.ParseEIT(section)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range eit.Events {
				want := "The News, " + s.Name + " at " + e.StartUTC(gpsUTCOffset).Format("15:04") + " UTC"
				if got := e.Title.String(); got != want || e.Title[0].Compressed {
					t.Errorf("title %q, want %q", got, want)
				}
				all++
				if e.Title[0].Compression == psi.TitleHuffman && len(e.Title.Append(nil)) < len(psi.English(want).Append(nil)) {
					shorter++
				}
			}
		}
	}
	if shorter != all {
		t.Errorf("%d of %d titles are compressed", shorter, all)
	}
}

// Counters follow from lengths that never change, so check those over a day, each block and event.
func TestTableLengthsAreConstant(t *testing.T) {
	for _, m := range DefaultMuxes() {
		p := mustPlan(t, m)
		for i := range p.tables {
			tab := &p.tables[i]
			for at := noon; at.Before(noon.Add(25 * time.Hour)); at = at.Add(17 * time.Minute) {
				var cc uint8
				section := tab.make(nil, at)
				if n := len(psi.AppendPackets(nil, tab.pid, &cc, section)) / ts.PacketSize; n != tab.packets {
					t.Fatalf("PID %#x at %s: %d packets, planned %d", tab.pid, at, n, tab.packets)
				}
				if err := psi.Check(section); err != nil {
					t.Fatalf("PID %#x: %v", tab.pid, err)
				}
			}
		}
	}
}

func TestMuxValidate(t *testing.T) {
	good := func() *Mux { return DefaultMuxes()[0] }
	for _, c := range []struct {
		name string
		m    *Mux
	}{
		{"no services", &Mux{}},
		{"unknown clip", func() *Mux { m := good(); m.Services[0].Video = "nothing"; return m }()},
		{"PID taken", func() *Mux { m := good(); m.Services[1].PID = 0x31; return m }()},
		{"program taken", func() *Mux { m := good(); m.Services[1].Program = 3; return m }()},
		{"rate too low", func() *Mux { m := good(); m.Rate = 1000; return m }()},
		{"jumps too often", func() *Mux { m := good(); m.Jump.Every = time.Millisecond; return m }()},
		{"TDT too rare", func() *Mux { m := DefaultMuxes()[1]; m.TDTEvery = time.Minute; return m }()},
	} {
		if c.m.Validate() == nil {
			t.Errorf("%s: accepted", c.name)
		}
		if _, err := c.m.Reader(noon, noon.Add(time.Second), 0).Read(make([]byte, 188)); err == nil {
			t.Errorf("%s: can be read", c.name)
		}
	}
	m := good()
	m.Rate = 19_392_658
	if got := mustPlan(t, m).rate(); got > 19_392_658 || got < 19_370_000 {
		t.Errorf("rate %d", got)
	}
	if _, err := m.Reader(noon, noon, 99).Read(make([]byte, 188)); err == nil {
		t.Error("program 99 can be read")
	}
}
