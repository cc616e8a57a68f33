package sim

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// variants are all habits as they are by default, and further values of those that have some.
func variants() (all []string) {
	for _, f := range HabitFlags() {
		all = append(all, f.Name)
	}
	return append(all, "pcr=bare", "pcr=own-pid", "pcr=cadence", "pcr=needed", "pcr=none", "pcr-every=10ms", "pcr-every=100ms", "pcr=payload pcr-every=25ms",
		"stuffing=field", "stuffing=filler", "duplicates=2", "second-audio=0s/0s", "second-audio=30s/15s", "pes-size=256", "pes-size=60000",
		"pes-units=32", "time-tables=tot", "tables-every=100ms", "time-jitter=12s", "charset=big5", "charset=ksx1001", "drift=-1000",
		"step=1h/10s", "step silent", "splice silent", "splice=-6s/10s/3s", "restart counters", "restart silent", "step counters",
		"splice counters pcr=payload", "restart pcr=needed", "restart pcr=cadence", "duplicates=3 pcr=mixed pcr-every=10ms", "still pcr=payload", "radio pcr=payload",
		"duplicates=2 pcr=payload disc-every disc-first=1s")
}

// habitual is a multiplex with habits, names apart by spaces.
func habitual(t testing.TB, mux int, habits string) *Mux {
	t.Helper()
	m := DefaultMuxes()[mux]
	for name := range strings.FieldsSeq(habits) {
		if err := m.SetHabit(name); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// combination is some habits at random, together with the ids of those that can be broadcast.
func combination(rng *rand.Rand) string {
	all := variants()
	var some []string
	for range 2 + rng.IntN(7) {
		some = append(some, all[rng.IntN(len(all))])
	}
	return strings.Join(some, " ")
}

// eachHabit calls f for all habits, and for some combinations, on an ATSC and a DVB multiplex; in short mode on one of them each.
func eachHabit(t *testing.T, f func(t *testing.T, mux int, habits string)) {
	rng := rand.New(rand.NewPCG(7, 2026))
	all := variants()
	for n := 0; n < 20; {
		if c := combination(rng); habitual(t, 0, c).Validate() == nil {
			all = append(all, c)
			n++
		}
	}
	for i, habits := range all {
		for mux, name := range []string{"atsc", "dvb"} {
			if testing.Short() && i%2 != mux {
				continue
			}
			t.Run(name+" "+habits, func(t *testing.T) { f(t, mux, habits) })
		}
	}
}

// Two receivers that join at different times, in different processes, hear the same bytes.
func TestHabitsFollowUTC(t *testing.T) {
	seen := 0
	rng := rand.New(rand.NewPCG(3, 4))
	eachHabit(t, func(t *testing.T, mux int, habits string) {
		first, second := habitual(t, mux, habits), habitual(t, mux, habits)
		start, end := noon.Add(17*time.Second), noon.Add(21*time.Second) // clocks jump at 20 s
		for _, program := range []uint16{0, first.Services[0].Program} {
			early := readAll(t, first.Reader(start, end, program))
			if len(early) < 100*ts.PacketSize {
				t.Fatalf("%d bytes are broadcast", len(early))
			}
			for range 2 {
				join := start.Add(time.Duration(rng.Int64N(int64(3900 * time.Millisecond))))
				if late := readAll(t, second.Reader(join, end, program)); len(late) == 0 || !bytes.HasSuffix(early, late) {
					t.Errorf("program %d: a receiver that joins at %s hears other packets", program, join)
				}
			}
		}
		seen++
	})
	least := 150
	if testing.Short() {
		least /= 2
	}
	if seen < least {
		t.Errorf("only %d broadcasts compared", seen)
	}
}

// Counters never show a loss that was none, copies come directly after what they repeat and differ in the PCR alone,
// and the PCR of each program comes often enough.
func TestHabitsAreLegal(t *testing.T) {
	duplicates := 0
	eachHabit(t, func(t *testing.T, mux int, habits string) {
		m := habitual(t, mux, habits)
		p := mustPlan(t, m)
		for _, program := range [][]uint16{{0}, {0, m.Services[0].Program}}[mux] {
			var cc ts.Continuity
			var before [ts.NumPIDs]ts.Packet
			from := noon.Add(14 * time.Second) // clocks jump at 20 s
			start := p.position(from)
			lastPCR := map[ts.PID]time.Time{}
			copies := 0
			for i, q := range packets(readAll(t, m.Reader(from, noon.Add(22*time.Second), program))) {
				pid := q.PID()
				e := cc.Check(q)
				jump := m.Jump.Counters && m.Jump.Silent
				if e == ts.Gap && !jump {
					t.Fatalf("packet %d of PID %#x: a gap of %d", i, pid, cc.Lost())
				}
				if e == ts.Duplicate {
					copies++
					a, b := before[pid], *q
					a.SetPCR(0)
					b.SetPCR(0)
					if a != b {
						t.Fatalf("packet %d of PID %#x is no copy of the one before", i, pid)
					}
				}
				before[pid] = *q
				if _, ok := q.PCR(); !ok || program != 0 {
					continue
				}
				now := p.timeOf(start + int64(i))
				if was, ok := lastPCR[pid]; ok && now.Sub(was) > 101*time.Millisecond {
					t.Fatalf("packet %d of PID %#x: no PCR for %s", i, pid, now.Sub(was))
				}
				lastPCR[pid] = now
			}
			if copies > 0 != (m.Habits.Duplicates > 0) {
				t.Errorf("%d copies", copies)
			}
			duplicates += copies
			for _, s := range p.services {
				if _, ok := lastPCR[s.clock]; program == 0 && ok == (m.Habits.PCR == PCRNone) {
					t.Errorf("PCR on PID %#x: %v", s.clock, ok)
				}
			}
		}
	})
	if duplicates == 0 {
		t.Error("no copies anywhere")
	}
}

func elementary(b []byte, pid ts.PID) []byte {
	es, _ := ts.Elementary(b, pid)
	return es
}

// pictures counts those that begin in an elementary stream.
func pictures(codec string, es []byte) (n int) {
	startCodes(es, func(at int, code byte) {
		if first := at+4 < len(es) && es[at+4]&0x80 != 0; codec == "h264" && first && (code&0x1f == 1 || code&0x1f == 5) || // first_mb_in_slice 0
			codec == "mpeg2video" && code == startPicture {
			n++
		}
	})
	return n
}

// How packets are made changes no byte of a stream.
func TestHabitsKeepStreams(t *testing.T) {
	for mux, service := range []int{0, 0} {
		for _, habits := range []string{
			"pcr=payload", "pcr=bare", "pcr=own-pid", "pcr=cadence", "pcr=needed", "pcr=none", "disc-every", "disc-first", "stuffing=bare", "stuffing=field",
			"duplicates", "pes-size", "pes-size=256", "pes-units", "scte35 subtitles teletext sections data", "pat-sections", "pmt-change",
			"step", "restart counters", "low-pids", "second-audio", "time-jitter",
		} {
			t.Run(fmt.Sprintf("%d %s", mux, habits), func(t *testing.T) {
				plain, m := DefaultMuxes()[mux], habitual(t, mux, habits)
				s := mustPlan(t, m).services[service]
				b := readAll(t, m.Reader(noon.Add(15*time.Second), noon.Add(24*time.Second), 0)) // clocks jump at 20 s
				a := readAll(t, plain.Reader(noon.Add(17*time.Second), noon.Add(22*time.Second), 0))
				for _, pid := range [][2]ts.PID{{plain.Services[service].videoPID(), s.video}, {plain.Services[service].audioPID(), s.audio}} {
					want := elementary(a, pid[0])
					if len(want) < 40_000 || !bytes.Contains(elementary(b, pid[1]), want) {
						t.Errorf("PID %#x carries other bytes than PID %#x without habits (%d)", pid[1], pid[0], len(want))
					}
				}
			})
		}
	}
}

// What habits make of pictures.
func TestHabitsOfPictures(t *testing.T) {
	read := func(mux int, habits string) []byte {
		m := habitual(t, mux, habits)
		return elementary(readAll(t, m.Reader(noon, noon.Add(24*time.Second), 0)), mustPlan(t, m).services[mux^1].video)
	}
	count := func(es []byte, is func(code byte) bool) (n int) {
		startCodes(es, func(_ int, code byte) {
			if is(code) {
				n++
			}
		})
		return n
	}
	sps := func(c byte) bool { return c&0x1f == nalSPS }
	h264 := read(0, "")
	if n := pictures("h264", h264); n < 715 || n > 722 {
		t.Fatalf("%d pictures in 24 s", n)
	}
	if n := count(h264, sps); n < 23 || n > 25 {
		t.Fatalf("%d parameter sets in 24 s", n)
	}
	es := read(0, "parameter-sets")
	if n, all := count(es, sps), pictures("h264", es); n != all || all != pictures("h264", h264) {
		t.Errorf("%d parameter sets in %d pictures", n, all)
	}
	es = read(0, "still=2s")
	if n := pictures("h264", es); n != 12 {
		t.Errorf("%d still pictures in 24 s", n)
	}
	es = read(0, "stuffing=filler")
	if n, all := count(es, func(c byte) bool { return c&0x1f == nalFiller }), pictures("h264", es); n < all/2 || all != pictures("h264", h264) {
		t.Errorf("filler data in %d of %d pictures", n, all)
	}
	if es = read(0, "radio"); len(es) > 0 {
		t.Error("radio has pictures")
	}
	m := habitual(t, 0, "parameter-sets")
	mpeg2 := elementary(readAll(t, m.Reader(noon, noon.Add(24*time.Second), 0)), 0x31)
	if n := count(mpeg2, func(c byte) bool { return c == startSequence }); n < 200 || pictures("mpeg2video", mpeg2) < 715 {
		t.Errorf("%d sequence headers in %d pictures", n, pictures("mpeg2video", mpeg2))
	}
}

// sections are those of a table, with when they were sent.
func sections(t *testing.T, m *Mux, from time.Time, d time.Duration, pid ts.PID, table uint8, see func(at time.Time, section []byte)) {
	t.Helper()
	p := mustPlan(t, m)
	start, n := p.position(from), 0
	var a psi.Assembler
	for i, q := range packets(readAll(t, m.Reader(from, from.Add(d), 0))) {
		if q.PID() != pid || q.PID() == ts.PIDNull {
			continue
		}
		a.Feed(q, func(section []byte) {
			if section[0] == table {
				n++
				see(p.timeOf(start+int64(i)), section)
			}
		})
	}
	if n == 0 || a.CRCErrors() > 0 {
		t.Errorf("%d sections of table %#x, %d with a wrong checksum", n, table, a.CRCErrors())
	}
}

func TestHabitsOfTables(t *testing.T) {
	t.Run("pat-sections", func(t *testing.T) {
		var seen [2]int
		sections(t, habitual(t, 0, "pat-sections"), noon, time.Second, ts.PIDPAT, psi.TablePAT, func(_ time.Time, b []byte) {
			s, _ := psi.ParsePAT(b)
			if s.LastNumber != 1 || len(s.Programs) != 1 || s.Programs[0].Number != uint16(4-s.Number) {
				t.Fatalf("%+v", s)
			}
			seen[s.Number]++
		})
		if seen != [2]int{20, 20} {
			t.Errorf("sections %v", seen)
		}
	})
	t.Run("pmt-change", func(t *testing.T) {
		got := map[string]bool{}
		sections(t, habitual(t, 0, "pmt-change=10s"), noon, 20*time.Second, 0x30, psi.TablePMT, func(at time.Time, b []byte) {
			s, _ := psi.ParsePMT(b)
			got[fmt.Sprintf("%v %d %s %d", at.Sub(noon) >= 10*time.Second, len(s.Streams), s.Streams[1].Descriptors.Language(), s.Version)] = true
		})
		v := noon.Unix() / 10 % 32
		if !got[fmt.Sprint("false 2 eng ", v)] || !got[fmt.Sprint("true 3 deu ", v+1)] || len(got) != 2 {
			t.Errorf("%v", got)
		}
	})
	t.Run("pmt-version", func(t *testing.T) {
		got := map[uint8]string{}
		sections(t, habitual(t, 1, "pmt-version=5s"), noon, 20*time.Second, 0x100, psi.TablePMT, func(_ time.Time, b []byte) {
			got[b[5]] += "x"
		})
		if len(got) != 4 {
			t.Errorf("%d versions in 20 s, want 4", len(got))
		}
	})
	for habits, least := range map[string]time.Duration{"time-jitter=800ms": 600 * time.Millisecond, "time-jitter=20s": 15 * time.Second} {
		for mux := range 2 {
			t.Run(fmt.Sprint(habits, mux), func(t *testing.T) {
				m := habitual(t, mux, habits)
				m.TDTEvery = time.Second
				pid, table := ts.PIDPSIP, uint8(psi.TableSTT)
				if mux == 1 {
					pid, table = ts.PIDTDT, psi.TableTDT
				}
				most, sum, n := time.Duration(0), time.Duration(0), 0
				sections(t, m, noon, 5*time.Minute, pid, table, func(at time.Time, b []byte) {
					utc, _ := psi.TableUTC(b)
					late := at.Sub(utc)
					if late < 0 || late > m.Habits.TimeJitter+time.Second {
						t.Fatalf("at %s a table says %s", at, utc)
					}
					most, sum, n = max(most, late), sum+late, n+1
				})
				if n < 298 || most < least || sum/time.Duration(n) < m.Habits.TimeJitter/4 {
					t.Errorf("%d tables, %s late at most, %s on average", n, most, sum/time.Duration(n))
				}
			})
		}
	}
	t.Run("tdt-wrong", func(t *testing.T) {
		m := habitual(t, 1, "tdt-wrong=3h")
		off := map[uint8]time.Duration{}
		for _, table := range []uint8{psi.TableTDT, psi.TableTOT} {
			sections(t, m, noon, time.Minute, ts.PIDTDT, table, func(at time.Time, b []byte) {
				utc, _ := psi.TableUTC(b)
				off[table] = utc.Sub(at).Round(time.Minute)
			})
		}
		if off[psi.TableTDT] != 3*time.Hour || off[psi.TableTOT] != 0 {
			t.Errorf("%v", off)
		}
	})
	t.Run("leap", func(t *testing.T) {
		m := habitual(t, 0, "leap=2026-03-14T12:00:10Z")
		sections(t, m, noon, 20*time.Second, ts.PIDPSIP, psi.TableSTT, func(at time.Time, b []byte) {
			s, _ := psi.ParseSTT(b)
			n := int64(at.Sub(noon) / time.Second)
			want, offset := noon.Unix()+n, uint8(18)
			if n >= 10 {
				want, offset = want-1, 19
			}
			if s.UTC().Unix() != want || s.GPSUTCOffset != offset || int64(s.SystemTime) != noon.Unix()+n-psi.GPSEpoch+18 {
				t.Errorf("after %d s: %s, offset %d, %d", n, s.UTC(), s.GPSUTCOffset, s.SystemTime)
			}
		})
	})
	t.Run("dst", func(t *testing.T) {
		got := map[string]bool{}
		sections(t, habitual(t, 1, "dst=2026-03-14T12:00:30Z"), noon, time.Minute, ts.PIDTDT, psi.TableTOT, func(at time.Time, b []byte) {
			s, _ := psi.ParseTOT(b)
			o := s.LocalTimeOffsets()[0]
			got[fmt.Sprint(at.Sub(noon) > 30*time.Second, o.Offset, o.Next)] = true
		})
		if len(got) != 2 || !got["false 1h0m0s 2h0m0s"] || !got["true 2h0m0s 1h0m0s"] {
			t.Errorf("%v", got)
		}
	})
	t.Run("stt-protocol, vct-other, next", func(t *testing.T) {
		m := habitual(t, 0, "stt-protocol vct-other next one-part")
		var protocols [2]int
		sections(t, m, noon, 10*time.Second, ts.PIDPSIP, psi.TableSTT, func(_ time.Time, b []byte) { protocols[b[8]]++ })
		if protocols != [2]int{10, 10} {
			t.Errorf("protocols %v", protocols)
		}
		next := 0
		sections(t, m, noon, 4*time.Second, ts.PIDPSIP, psi.TableCVCT, func(_ time.Time, b []byte) {
			s, _ := psi.ParseVCT(b)
			if len(s.Channels) != 4 || s.Channels[0].TSID != 2066 || s.Channels[0].Program != 3 {
				t.Fatalf("%+v", s)
			}
			if c := s.Channels[2]; c.Major != 0x3f1 || c.Minor != 1051-1024 {
				t.Errorf("5.1 is %d.%d", c.Major, c.Minor)
			}
		})
		sections(t, m, noon, 4*time.Second, ts.PIDPSIP, psi.TableTVCT, func(_ time.Time, b []byte) {
			if s, _ := psi.ParseVCT(b); s.Next && s.TSID != 2065 {
				next++
			}
		})
		if next != 10 {
			t.Errorf("%d VCTs that are not yet applicable", next)
		}
	})
	t.Run("private-ids, rename", func(t *testing.T) {
		names := map[string]bool{}
		sections(t, habitual(t, 1, "private-ids rename=5s"), noon, 10*time.Second, ts.PIDSDT, psi.TableSDT, func(_ time.Time, b []byte) {
			s, _ := psi.ParseSDT(b)
			_, _, name := s.Services[0].Name()
			names[fmt.Sprintf("%x %d %s", s.ONID, s.TSID, name)] = true
		})
		if len(names) != 2 || !names["ff01 1 EC Eins"] || !names["ff01 1 EC Ein+"] {
			t.Errorf("%v", names)
		}
	})
}

// A clock that drifts is ahead by what its rate and the time since 2026 say, and every receiver agrees.
func TestDrift(t *testing.T) {
	m := habitual(t, 0, "drift=100")
	p := mustPlan(t, m)
	for _, from := range []time.Time{noon, noon.Add(10 * time.Hour)} {
		start := p.position(from)
		for i, q := range packets(readAll(t, m.Reader(from, from.Add(time.Second), 0))) {
			v, ok := q.PCR()
			if !ok {
				continue
			}
			now := p.timeOf(start + int64(i))
			ahead := now.Sub(driftFrom.Time()) / 10_000
			if d := at(clock.PCR(v), 0, now.Add(ahead)).Sub(now) - ahead; d.Abs() > 50*time.Microsecond {
				t.Fatalf("PCR is off by %s", d)
			}
		}
	}
	if got, want := float64(p.position(noon.Add(time.Hour))-p.position(noon)), 36_000*1.0001*float64(p.packets); math.Abs(got-want) > 2 {
		t.Errorf("an hour has %.0f packets, want %.0f", got, want)
	}
}

// The clock of splice comes home, that of restart is at 0.
func TestSpliceAndRestart(t *testing.T) {
	for habits, want := range map[string]map[int]time.Duration{
		"splice=6s/20s/7s":          {19: 0, 20: 6 * time.Second, 26: 6 * time.Second, 27: 0, 39: 0, 40: 6 * time.Second},
		"step=-4s/20s":              {19: 0, 20: -4 * time.Second, 39: -4 * time.Second, 40: -8 * time.Second},
		"splice=6s/20s/7s counters": {19: 0, 20: 6 * time.Second, 27: 0},
	} {
		m := habitual(t, 1, habits)
		for second, by := range want {
			n := (noon.Unix() + int64(second)) * 10
			first := m.offset((noon.Unix() + 19) * 10)
			if got := (m.offset(n) - first) & (clock.Wrap - 1); got != clock.TicksOf(by)&(clock.Wrap-1) {
				t.Errorf("%s: %d s after noon the clock is %s ahead", habits, second, got.Duration())
			}
			if m.jumps(n) != slices.Contains([]int{20, 27, 40}, second) && !(second == 27 && m.Jump.For == 0) {
				t.Errorf("%s: jumps after %d s: %v", habits, second, m.jumps(n))
			}
		}
	}
	m := habitual(t, 1, "restart=20s counters")
	p := mustPlan(t, m)
	b := packets(readAll(t, m.Reader(noon.Add(20*time.Second), noon.Add(21*time.Second), 0)))
	v, ok := b[0].PCR()
	if !ok || v > clock.SystemHz/100 || !b[0].Discontinuity() {
		t.Errorf("the first packet after a restart: PCR %d %v, announced %v", v, ok, b[0].Discontinuity())
	}
	first := map[ts.PID]uint8{}
	for _, q := range b {
		if pid := q.PID(); q.HasPayload() && pid != ts.PIDNull {
			if _, ok := first[pid]; !ok {
				first[pid] = q.Continuity()
			}
		}
	}
	for pid, cc := range first {
		if cc != 0 {
			t.Errorf("PID %#x goes on with counter %d", pid, cc)
		}
	}
	if len(first) < 8 || len(p.resets) < len(first) {
		t.Errorf("%d PIDs, %d resets", len(first), len(p.resets))
	}
}

func TestHabitsThatCannotBe(t *testing.T) {
	for _, h := range []string{
		"nothing", "pcr=often", "radio=1", "scte35=soon", "step=4s", "stuffing=lots", "time-tables=none", "dst=spring", "duplicates=many",
	} {
		if DefaultMuxes()[0].SetHabit(h) == nil {
			t.Errorf("%s is accepted", h)
		}
	}
	for _, h := range []string{
		"pcr-every=1s", "scte35=1ms", "duplicates=1", "pes-size=10", "pes-units=99", "still=100ms", "pmt-change=1500ms", "second-audio=4s/3s",
		"drift=5000", "charset=klingon", "splice=1s/10s/20s", "tables-every=1ms",
	} {
		if habitual(t, 0, h).Validate() == nil {
			t.Errorf("%s can be broadcast", h)
		}
	}
}

// A decoder that is not ours gets every picture that is broadcast.
func TestFFprobeCountsHabits(t *testing.T) {
	ffprobe, err := exec.LookPath("ffprobe")
	if err != nil {
		t.Skip("ffprobe is not installed")
	}
	for _, habits := range []string{
		"", "pcr=payload", "pcr=bare", "pcr=own-pid", "pcr=cadence", "pcr=needed", "pcr=none", "disc-every disc-first", "stuffing=bare stuffing=field",
		"stuffing=filler", "scte35 subtitles teletext sections data silent-audio second-audio", "pes-size", "pes-units", "parameter-sets",
		"still=1s", "pat-sections", "pmt-change=5s", "tables-every=500ms", "drift=1000", "step", "splice silent", "restart counters", "low-pids",
	} { // not duplicates: ffprobe takes each copy for more of the stream
		t.Run(habits, func(t *testing.T) {
			t.Parallel()
			m := habitual(t, 0, habits)
			s := mustPlan(t, m).services[1] // H.264
			b := fromKey(readAll(t, m.Reader(noon.Add(14*time.Second), noon.Add(22*time.Second), s.Program)), s.video)
			es := elementary(b, s.video)
			want := pictures("h264", es[max(bytes.Index(es, []byte{0, 0, 1, 0x67})-6, 0):]) // from the first parameter set, and the delimiter before
			if least := 150; want < least && (m.Habits.Still == 0 || want < 6) {
				t.Fatalf("%d pictures are broadcast", want)
			}
			cmd := exec.Command(ffprobe, "-v", "error", "-threads", "1", "-f", "mpegts", "-count_frames", "-select_streams", "v:0",
				"-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", "-")
			cmd.Stdin = bytes.NewReader(b)
			out, err := cmd.Output()
			first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			if got, _ := strconv.Atoi(strings.Trim(first, ", \r")); err != nil || got != want && (m.Habits.PESSize == 0 || got != want-1) { // the last may be cut
				t.Errorf("%q: %d pictures of %d: %v", out, got, want, err)
			}
		})
	}
}
