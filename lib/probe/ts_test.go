package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// broadcast is so much of a simulated multiplex.
func broadcast(t testing.TB, std sim.Standard, d time.Duration, change func(*sim.Mux), im sim.Impair) []byte {
	t.Helper()
	for _, m := range sim.DefaultMuxes() {
		if m.Standard != std {
			continue
		}
		if change != nil {
			change(m)
		}
		var r io.Reader = m.Reader(noon, noon.Add(d), 0)
		b, err := io.ReadAll(im.Reader(r))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	t.Fatal("no such multiplex")
	return nil
}

// dump runs Run on in and returns the last report and all lines by type.
func dump(t testing.TB, cfg Config, in io.Reader) (Report, map[string][]map[string]any, error) {
	t.Helper()
	var out bytes.Buffer
	cfg.JSON = true
	err := Run(context.Background(), cfg, in, &out)
	var rep Report
	all := map[string][]map[string]any{}
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if e := json.Unmarshal([]byte(line), &m); e != nil {
			t.Fatalf("%s: %v", line, e)
		}
		if m["v"] != 1.0 {
			t.Fatalf("no version in %s", line)
		}
		kind := fmt.Sprint(m["type"])
		all[kind] = append(all[kind], m)
		if kind == "report" {
			rep = Report{}
			_ = json.Unmarshal([]byte(line), &rep)
		}
	}
	return rep, all, err
}

// counters are the counters of TR 101 290 that are not 0.
func counters(m Measurement) map[string]int64 {
	b, _ := json.Marshal(m)
	var p map[string]map[string]*int64
	_ = json.Unmarshal(b, &p)
	set := map[string]int64{}
	for _, g := range p {
		for k, v := range g {
			if v != nil && *v != 0 {
				set[k] = *v
			}
		}
	}
	return set
}

func TestCleanBroadcastHasNoErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		std   sim.Standard
		table string
		rate  int
		low   bool // streams on PIDs that have tables in the other standard
	}{
		{"ATSC", sim.ATSC, "STT", 0, false},
		{"ATSC at a constant rate", sim.ATSC, "STT", 19_392_658, false},
		{"ATSC with streams on 0x11 and 0x14", sim.ATSC, "STT", 0, true},
		{"DVB", sim.DVB, "TDT", 0, false},
		{"DVB with a stream on 0x1FFB", sim.DVB, "TDT", 0, true},
	} {
		in := broadcast(t, c.std, 12*time.Second, func(m *sim.Mux) { m.Rate, m.Habits.LowPIDs = c.rate, c.low }, sim.Impair{})
		rep, all, err := dump(t, Config{Verify: true}, bytes.NewReader(in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := counters(rep.TR); len(n) > 0 {
			t.Errorf("%s: %v", c.name, n)
		}
		if rep.Packets != int64(len(in)/188) || rep.Stride != 188 || rep.Seconds < 11.8 || rep.Seconds > 12.1 || rep.Skipped != 0 || !rep.Final {
			t.Errorf("%s: %d packets at %d, %v s", c.name, rep.Packets, rep.Stride, rep.Seconds)
		}
		if want := float64(len(in)) * 8 / 12; c.rate == 0 && (float64(rep.Rate) < want*0.98 || float64(rep.Rate) > want*1.02) {
			t.Errorf("%s: %d bit/s, want about %.0f", c.name, rep.Rate, want)
		}
		if c.rate > 0 && (!rep.Constant || rep.Rate < int64(c.rate)*999/1000 || rep.Rate > int64(c.rate)*1001/1000) {
			t.Errorf("%s: %d bit/s, constant %v, want %d", c.name, rep.Rate, rep.Constant, c.rate)
		}
		if len(rep.Programs) == 0 || rep.Time == nil || rep.Time.Tables[c.table] == 0 || rep.Time.First == nil {
			t.Fatalf("%s: programs %v, time %v", c.name, rep.Programs, rep.Time)
		}
		if d := rep.Time.First.Sub(noon); d < 0 || d > 12*time.Second {
			t.Errorf("%s: first time table says %v", c.name, rep.Time.First)
		}
		for _, p := range rep.Programs {
			if !p.PMT || p.Name == "" || len(p.Streams) == 0 || !p.Streams[0].Codec.Video() && !p.Streams[0].Codec.Audio() || p.Streams[0].Rate == 0 {
				t.Errorf("%s: %+v", c.name, p)
			}
		}
		if len(all["program"]) != len(rep.Programs) || len(all["time"]) < 1 {
			t.Errorf("%s: %d program lines, %d time lines", c.name, len(all["program"]), len(all["time"]))
		}
	}
}

// Whatever is done to a broadcast shows in the counter that is meant for it.
func TestImpairmentsAreCounted(t *testing.T) {
	for _, c := range []struct {
		name   string
		im     sim.Impair
		change func(*sim.Mux)
		want   []string // counters that must be set
		not    []string // and some that must not
	}{
		{"loss", sim.Impair{Seed: 1, Loss: 0.002}, nil, []string{"Continuity_count_error"}, []string{"Transport_error", "TS_sync_loss"}},
		{"TEI", sim.Impair{Seed: 2, TEI: 0.002}, nil, []string{"Transport_error", "Continuity_count_error"}, []string{"TS_sync_loss"}},
		{"cut packets", sim.Impair{Seed: 3, Cut: 0.002}, nil, []string{"Sync_byte_error", "TS_sync_loss"}, nil},
		{"bits in tables", sim.Impair{Seed: 4, Flip: 0.3}, nil, []string{"CRC_error"}, []string{"TS_sync_loss"}},
		{"unannounced PCR jump", sim.Impair{}, func(m *sim.Mux) { m.Jump = sim.Jump{Every: 6 * time.Second, By: time.Hour, Silent: true} },
			[]string{"PCR_discontinuity_indicator_error"}, []string{"Continuity_count_error"}},
		{"announced PCR jump", sim.Impair{}, func(m *sim.Mux) { m.Jump = sim.Jump{Every: 6 * time.Second, By: time.Hour} },
			nil, []string{"Continuity_count_error", "PCR_discontinuity_indicator_error"}},
	} {
		in := broadcast(t, sim.ATSC, 12*time.Second, c.change, c.im)
		rep, _, err := dump(t, Config{}, bytes.NewReader(in))
		if err != nil {
			t.Errorf("%s: %v: damage is no error without Verify", c.name, err)
		}
		got := counters(rep.TR)
		for _, k := range c.want {
			if got[k] == 0 {
				t.Errorf("%s: %s is 0: %v", c.name, k, got)
			}
		}
		for _, k := range c.not {
			if got[k] != 0 {
				t.Errorf("%s: %s is %d", c.name, k, got[k])
			}
		}
		if c.change != nil {
			continue // nothing is damaged
		}
		_, _, err = dump(t, Config{Verify: true}, bytes.NewReader(in))
		if e, ok := errors.AsType[*Error](err); !ok || e.ExitCode() != 65 || !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: with Verify %v", c.name, err)
		}
	}
}

// A PCR wrap is no event.
func TestPCRWrap(t *testing.T) {
	in := broadcast(t, sim.ATSC, 8*time.Second, func(m *sim.Mux) { m.WrapAt = noon.Add(4 * time.Second) }, sim.Impair{})
	rep, _, err := dump(t, Config{Verify: true}, bytes.NewReader(in))
	if n := counters(rep.TR); err != nil || len(n) > 0 || rep.Seconds < 7.8 || rep.Seconds > 8.1 {
		t.Errorf("%v s, %v, %v", rep.Seconds, n, err)
	}
}

// The report does not depend on how reads are cut or packets are framed.
func TestReportDoesNotDependOnReads(t *testing.T) {
	in := broadcast(t, sim.DVB, time.Second, nil, sim.Impair{Seed: 5, Loss: 0.002, Cut: 0.002})
	epoch := Config{Now: func() time.Time { return noon }}
	want, wantLines, _ := dump(t, epoch, bytes.NewReader(in))
	got, gotLines, _ := dump(t, epoch, iotest.OneByteReader(bytes.NewReader(in)))
	if a, b := fmt.Sprintf("%+v", gotLines), fmt.Sprintf("%+v", wantLines); a != b || got.Packets != want.Packets {
		t.Error("one byte reads give another report")
	}
	whole := broadcast(t, sim.DVB, 3*time.Second, nil, sim.Impair{})
	for _, stride := range []int{192, 204} {
		var framed []byte
		for b := whole; len(b) >= 188; b = b[188:] {
			if stride == 192 {
				framed = append(framed, 1, 2, 3, 4)
			}
			framed = append(framed, b[:188]...)
			if stride == 204 {
				framed = append(framed, make([]byte, 16)...)
			}
		}
		plain, _, _ := dump(t, epoch, bytes.NewReader(whole))
		rep, _, err := dump(t, epoch, bytes.NewReader(framed))
		if err != nil || rep.Stride != stride || rep.Packets != plain.Packets || rep.Rate != plain.Rate || len(counters(rep.TR)) != 0 {
			t.Errorf("%d: %d packets at %d, %d bit/s, %v %v", stride, rep.Packets, rep.Stride, rep.Rate, counters(rep.TR), err)
		}
	}
}

// table is any table of psi.
type table interface{ Append([]byte) []byte }

// builder makes streams that break one rule.
type builder struct {
	out []byte
	cc  [ts.NumPIDs]uint8
	t   uint64 // 27 MHz
}

func (b *builder) table(pid ts.PID, x table) {
	b.out = psi.AppendPackets(b.out, pid, &b.cc[pid], x.Append(nil))
}

func (b *builder) packet(h ts.Header, payload []byte) {
	var p ts.Packet
	h.Continuity = b.cc[h.PID]
	p.Fill(&h, payload)
	if p.HasPayload() {
		b.cc[h.PID] = (b.cc[h.PID] + 1) & 15
	} else {
		p.SetContinuity(b.cc[h.PID] - 1) // it stands still
	}
	b.out = append(b.out, p[:]...)
}

// run makes a stream of 6 s: PCR each 20 ms, PAT and PMT each 100 ms, PTS each 100 ms, 10 packets per PCR.
// skip leaves something out at a time.
func (b *builder) run(skip func(what string, at time.Duration) bool) []byte {
	pat := psi.PAT{TSID: 1, Programs: []psi.Program{{Number: 1, PID: 0x30}}}
	pmt := psi.PMT{Program: 1, PCRPID: 0x31, Streams: []psi.Stream{{Type: psi.TypeH264, PID: 0x32}, {Type: psi.TypeAC3, PID: 0x34}}}
	payload := bytes.Repeat([]byte{0x55}, 200)
	for i := range 600 {
		at := time.Duration(i) * 20 * time.Millisecond
		b.t = uint64(i) * 540_000
		yes := func(what string) bool { return !skip(what, at) }
		pes := func(pid ts.PID, id uint8) {
			h := ts.PES{StreamID: id, HasPTS: true, PTS: b.t/300 + 9000}
			b.packet(ts.Header{PID: pid, UnitStart: true}, append(h.Append(nil), payload...))
		}
		if yes("PCR") {
			jitter := uint64(0)
			if skip("jitter", at) {
				jitter = uint64(i%2) * 270 // 10 µs
			}
			b.packet(ts.Header{PID: 0x31, HasPCR: true, PCR: b.t + jitter}, nil)
		} else {
			b.packet(ts.Header{PID: 0x31}, payload)
		}
		n := 1
		if i%5 == 0 {
			if yes("PAT") {
				b.table(ts.PIDPAT, pat)
				n++
			}
			if yes("PMT") {
				b.table(0x30, pmt)
				n++
			}
			if yes("PTS") {
				pes(0x32, 0xe0)
				n++
			}
		}
		if skip("foreign table", at) {
			b.table(ts.PIDPAT, psi.SDT{})
			n++
		}
		if skip("foreign CAT", at) {
			b.table(ts.PIDCAT, psi.SDT{})
			n++
		}
		h := ts.Header{PID: 0x34}
		if skip("scrambled", at) {
			h.Scrambling = 2
		}
		if yes("audio") {
			b.packet(h, payload)
			n++
		}
		for ; n < 10; n++ {
			b.packet(ts.Header{PID: 0x32}, payload)
		}
	}
	return b.out
}

// When the PCR that time is taken from falls silent, time goes on with another; many others do not confuse it.
func TestTimebaseChangesPID(t *testing.T) {
	var b timebase
	packet := int64(0)
	stats := map[ts.PID]*pcrStats{}
	pcr := func(pid ts.PID, v uint64) {
		packet += 10
		if stats[pid] == nil {
			stats[pid] = new(pcrStats)
		}
		p := point{pcr: clock.PCR(v), packet: packet}
		step, ok := stats[pid].add(p, false)
		b.add(pid, p, step, ok)
	}
	for i := range uint64(100) { // 100 ms apart, with 30 others each 20 ms that start elsewhere
		pcr(0x100, i*2_700_000)
		for j := range uint64(5) {
			for k := range uint64(30) {
				pcr(0x200+ts.PID(k), 1e9*k+i*2_700_000+j*540_000)
			}
		}
	}
	if b.pid != 0x100 || b.elapsed != 99*2_700_000 {
		t.Errorf("after 9.9 s: PID %#x, %v", b.pid, b.elapsed.Duration())
	}
	for i := range uint64(200) {
		pcr(0x200, 100*2_700_000+i*540_000)
	}
	if d := b.elapsed.Duration(); b.pid != 0x200 || d < 13*time.Second || d > 14*time.Second {
		t.Errorf("4 s after it fell silent: PID %#x, %v", b.pid, d)
	}
}

func TestCountersOneByOne(t *testing.T) {
	within := func(from, to time.Duration) func(at time.Duration) bool {
		return func(at time.Duration) bool { return at >= from && at < to }
	}
	once := within(3*time.Second, 3*time.Second+time.Millisecond)
	for _, c := range []struct {
		name string
		what string
		when func(time.Duration) bool
		want map[string]int64
	}{
		{"nothing", "", once, nil},
		{"PAT missing for 400 ms", "PAT", within(2*time.Second, 2400*time.Millisecond), nil},
		{"PAT missing for 600 ms", "PAT", within(2*time.Second, 2600*time.Millisecond), map[string]int64{"PAT_error": 1, "PAT_error_2": 1}},
		{"PAT missing to the end", "PAT", within(11*time.Second, time.Hour), map[string]int64{"PAT_error": 1, "PAT_error_2": 1}},
		{"PMT missing for 600 ms", "PMT", within(2*time.Second, 2600*time.Millisecond), map[string]int64{"PMT_error": 1}},
		{"another table on PID 0", "foreign table", once, map[string]int64{"PAT_error": 1, "PAT_error_2": 1}},
		{"another table on PID 1", "foreign CAT", once, map[string]int64{"CAT_error": 1}},
		{"scrambled, no CAT", "scrambled", once, map[string]int64{"CAT_error": 1}},
		{"PTS missing for 800 ms", "PTS", within(2*time.Second, 2800*time.Millisecond), map[string]int64{"PTS_error": 1}},
		{"PCR missing for 80 ms", "PCR", within(2*time.Second, 2060*time.Millisecond), nil},
		{"PCR missing for 140 ms", "PCR", within(2*time.Second, 2120*time.Millisecond), map[string]int64{"PCR_repetition_error": 1, "PCR_discontinuity_indicator_error": 1}},
		{"audio missing for 4 s", "audio", within(2*time.Second, 6*time.Second), nil},
		{"audio missing for 7 s", "audio", within(2*time.Second, 9*time.Second), map[string]int64{"PID_error": 1}},
		{"PCR off by 10 µs", "jitter", within(6*time.Second, 6400*time.Millisecond), map[string]int64{"PCR_accuracy_error": 20}},
	} {
		b := new(builder)
		in := b.run(func(what string, at time.Duration) bool { return what == c.what && c.when(at) })
		rep, _, err := dump(t, Config{}, bytes.NewReader(in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		got := counters(rep.TR)
		if c.what == "jitter" && got["PCR_accuracy_error"] > 15 { // the edges of the span may count or not
			got["PCR_accuracy_error"] = 20
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if !rep.Constant {
			t.Errorf("%s: the rate is said to vary", c.name)
		}
	}
}

func TestBadInput(t *testing.T) {
	b := new(builder)
	whole := b.run(func(string, time.Duration) bool { return false })
	noPAT := new(builder).run(func(what string, _ time.Duration) bool { return what == "PAT" })
	noPMT := new(builder).run(func(what string, _ time.Duration) bool { return what == "PMT" })
	for _, c := range []struct {
		name string
		in   []byte
		is   error
		text string
	}{
		{"empty", nil, ts.ErrEmpty, "input is empty"},
		{"text", []byte(strings.Repeat("no stream at all\n", 100)), ts.ErrNotTS, "not an MPEG transport stream"},
		{"a page", []byte("<html>" + strings.Repeat(" ", 1000)), ts.ErrNotTS, "an HTML page"},
		{"no PAT", noPAT, ErrNoPAT, "no PAT"},
		{"no PMT", noPMT, ErrNoPMT, "program 1 should have it on PID 0x0030"},
		{"cut in a packet", whole[:len(whole)-50], nil, ""},
	} {
		rep, _, err := dump(t, Config{}, bytes.NewReader(c.in))
		if !errors.Is(err, c.is) || c.is != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.is == nil {
			if rep.Cut != 138 {
				t.Errorf("%s: %d bytes cut", c.name, rep.Cut)
			}
			continue
		}
		e, ok := errors.AsType[interface {
			error
			ExitCode() int
			Hint() string
		}](err)
		if !ok || e.ExitCode() != 65 || e.Hint() == "" {
			t.Errorf("%s: %v has no exit code 65 or no hint", c.name, err)
		}
	}
	boom := errors.New("boom")
	if _, _, err := dump(t, Config{}, io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Errorf("broken reader: %v", err)
	}
	if err := Run(context.Background(), Config{}, bytes.NewReader(whole), brokenWriter{boom}); !errors.Is(err, boom) {
		t.Errorf("broken writer: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(boom)
	if err := Run(ctx, Config{}, bytes.NewReader(whole), io.Discard); !errors.Is(err, boom) {
		t.Errorf("cancelled: %v", err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// A table whose time cannot be is counted and shown, and does not become the time of the stream.
func TestImplausibleTime(t *testing.T) {
	b := new(builder)
	b.run(func(string, time.Duration) bool { return false })
	b.table(ts.PIDTDT, psi.TDT{UTC: time.Date(2038, 4, 23, 0, 0, 0, 0, time.UTC)}) // wraps the 16 bits of MJD
	rep, all, err := dump(t, Config{}, bytes.NewReader(b.out))
	if err != nil || rep.Time == nil || rep.Time.Implausible != 1 || rep.Time.First != nil {
		t.Fatalf("%+v, %v", rep.Time, err)
	}
	if l := all["time"][0]; l["utc"] != nil || l["hex"] == nil {
		t.Errorf("%v", l)
	}
}

// A program is found in whichever section of the PAT lists it, and even if its PMT came before that; it goes with a
// whole PAT that does not list it, whatever version that has.
func TestPATInSections(t *testing.T) {
	pat := func(version, number, last uint8, program uint16) psi.PAT {
		return psi.PAT{TSID: 1, Version: version, Number: number, LastNumber: last, Programs: []psi.Program{{Number: program, PID: 0x30}}}
	}
	pmt := func(program uint16) psi.PMT {
		return psi.PMT{Program: program, PCRPID: 0x31, Streams: []psi.Stream{{Type: psi.TypeH264, PID: 0x32}}}
	}
	first, second := pat(0, 0, 1, 7), pat(0, 1, 1, 3)
	for _, c := range []struct {
		name   string
		tables []table
		want   string // programs, with their PMTs
	}{
		{"two sections", []table{first, second, pmt(7), pmt(3)}, "3 PMT true, 7 PMT true, "},
		{"PMT between them", []table{first, pmt(3), second, pmt(7), pmt(3)}, "3 PMT true, 7 PMT true, "},
		{"one of them only", []table{first, pmt(7)}, "7 PMT true, "},
		{"A, B, A of one version", []table{pat(0, 0, 0, 7), pmt(7), pat(0, 0, 0, 3), pmt(3), pat(0, 0, 0, 7), pmt(7)}, "7 PMT true, "},
		{"a version for each", []table{pat(0, 0, 0, 7), pmt(7), pat(1, 0, 0, 7), pat(2, 0, 0, 7)}, "7 PMT true, "},
		{"not yet applicable", []table{pat(0, 0, 0, 7), pmt(7), psi.PAT{TSID: 1, Version: 1, Next: true, Programs: []psi.Program{{Number: 9, PID: 0x30}}}}, "7 PMT true, "},
	} {
		b := new(builder)
		for _, x := range c.tables {
			pid := ts.PID(0x30)
			if _, ok := x.(psi.PAT); ok {
				pid = ts.PIDPAT
			}
			b.table(pid, x)
		}
		rep, _, err := dump(t, Config{}, bytes.NewReader(b.out))
		got := ""
		for _, p := range rep.Programs {
			got += fmt.Sprintf("%d PMT %v, ", p.Number, p.PMT)
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// Only what applies to this transport stream names a program.
func TestNames(t *testing.T) {
	channel := func(name string, major, minor, tsid, program uint16) psi.VirtualChannel {
		return psi.VirtualChannel{ShortName: name, Major: major, Minor: minor, TSID: tsid, Program: program}
	}
	vct := func(next bool, channels ...psi.VirtualChannel) psi.VCT {
		return psi.VCT{TSID: 1, Next: next, Channels: channels}
	}
	sdt := func(next bool, name string) psi.SDT {
		return psi.SDT{TSID: 1, ONID: 2, Next: next, Services: []psi.Service{{ID: 1, Descriptors: psi.AppendDescriptor(nil, psi.TagService, append([]byte{1, 0, byte(len(name))}, name...))}}}
	}
	for _, c := range []struct {
		name          string
		pid           ts.PID
		tables        []table
		want, channel string
	}{
		{"a channel", ts.PIDPSIP, []table{vct(false, channel("HERE", 5, 1, 1, 1))}, "HERE", "5.1"},
		{"one-part number", ts.PIDPSIP, []table{vct(false, channel("CABLE", 0x3f1, 210, 1, 1))}, "CABLE", "1234"},
		{"another transport stream's, before and after", ts.PIDPSIP, []table{vct(false, channel("A", 7, 1, 9, 1), channel("HERE", 5, 1, 1, 1), channel("B", 8, 1, 9, 1))}, "HERE", "5.1"},
		{"a VCT to come", ts.PIDPSIP, []table{vct(false, channel("NOW", 5, 1, 1, 1)), vct(true, channel("NEXT", 6, 1, 1, 1))}, "NOW", "5.1"},
		{"an SDT to come", ts.PIDSDT, []table{sdt(false, "now"), sdt(true, "next")}, "now", ""},
		{"A, B, A", ts.PIDSDT, []table{sdt(false, "A"), sdt(false, "B"), sdt(false, "A")}, "A", ""},
		{"GB 2312", ts.PIDSDT, []table{sdt(false, "\x13\xd6\xd0\xd1\xeb")}, "中央", ""},
	} {
		b := new(builder)
		for _, x := range c.tables {
			b.table(c.pid, x)
		}
		b.run(func(string, time.Duration) bool { return false })
		rep, _, err := dump(t, Config{}, bytes.NewReader(b.out))
		if err != nil || len(rep.Programs) != 1 || rep.Programs[0].Name != c.want || rep.Programs[0].Channel != c.channel {
			t.Errorf("%s: %+v, %v, want %q %s", c.name, rep.Programs, err, c.want, c.channel)
		}
	}
}

// Streams of others, or as others sent them.
func TestCases(t *testing.T) {
	dir := os.Getenv("EC_CASES")
	if dir == "" {
		t.Skip("EC_CASES is not set")
	}
	for _, c := range []struct{ file, programs, first, last string }{
		{"stt_proto", "3 5.1 TEST, ", "2026-01-15T12:00:00Z", "2026-01-15T12:00:12Z"},
		{"stt_1990", "3 5.1 TEST, ", "1990-01-01T00:00:00Z", "1990-01-01T00:00:12Z"},
		{"vct_other", "3 5.1 HERE, ", "2026-01-15T12:00:00Z", "2026-01-15T12:00:12Z"},
		{"vct_next", "3 5.1 TEST, ", "2026-01-15T12:00:00Z", "2026-01-15T12:00:12Z"},
		{"cvct_onepart", "3 1234 CABLE, ", "2026-01-15T12:00:00Z", "2026-01-15T12:00:12Z"},
		{"dvb_gb2312", "3  中央, ", "2026-01-15T12:00:00Z", "2026-01-15T12:00:00Z"},
		{"pat2", "3 5.1 TEST, 7  , ", "2026-01-15T12:00:00Z", "2026-01-15T12:00:12Z"},
	} {
		f, err := os.Open(filepath.Join(dir, c.file+".ts"))
		if err != nil {
			t.Fatal(err)
		}
		rep, _, err := dump(t, Config{}, f)
		f.Close()
		programs := ""
		for _, p := range rep.Programs {
			programs += fmt.Sprintf("%d %s %s, ", p.Number, p.Channel, p.Name)
		}
		if programs != c.programs || rep.Time == nil || rep.Time.First == nil {
			t.Errorf("%s: programs %q, want %q; time %+v, %v", c.file, programs, c.programs, rep.Time, err)
			continue
		}
		if first, last := rep.Time.First.Format(time.RFC3339), rep.Time.Last.Format(time.RFC3339); first != c.first || last != c.last {
			t.Errorf("%s: from %s to %s, want %s to %s", c.file, first, last, c.first, c.last)
		}
	}
}

func TestSections(t *testing.T) {
	for _, c := range []struct {
		std  sim.Standard
		want []string
	}{
		{sim.ATSC, []string{"PAT", "PMT", "MGT", "TVCT", "STT", "EIT"}},
		{sim.DVB, []string{"PAT", "PMT", "SDT", "TDT", "TOT", "EIT p/f"}},
	} {
		in := broadcast(t, c.std, 12*time.Second, nil, sim.Impair{})
		_, all, err := dump(t, Config{Sections: true}, bytes.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, s := range all["section"] {
			name := s["table"].(string)
			seen[name]++
			if s["error"] != nil || s["decoded"] == nil {
				t.Errorf("%s: %v", name, s)
			}
			if name == "EIT" { // Huffman coded
				events := s["decoded"].(map[string]any)["events"].([]any)
				if e := events[0].(map[string]any); !strings.Contains(e["title"].(string), " at ") || e["compressed"] != false {
					t.Errorf("%v", e)
				}
			}
		}
		for _, name := range c.want {
			if seen[name] == 0 {
				t.Errorf("no %s among %v", name, seen)
			}
		}
		if seen["PAT"] != 1 {
			t.Errorf("%d PATs are printed, of one version", seen["PAT"])
		}
		var text bytes.Buffer
		if err := Run(context.Background(), Config{Sections: true}, bytes.NewReader(in), &text); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.want {
			if !strings.Contains(text.String(), name) {
				t.Errorf("no %s in the text", name)
			}
		}
		if i := strings.IndexFunc(text.String(), func(r rune) bool { return r < 0x20 && r != '\n' || r == 0x7f }); i >= 0 {
			t.Errorf("a control character goes to the terminal: %q", text.String()[i:i+10])
		}
	}
}

// A report each interval by the clock of the wall, data or not; and a live stream's arrival jitter.
func TestIntervalAndArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(builder).run(func(string, time.Duration) bool { return false })
		r := &paced{in: in, each: 188 * 50, wait: 100 * time.Millisecond, end: 11 * time.Second} // 5 PCRs of 20 ms each
		rep, all, err := dump(t, Config{Interval: 5070 * time.Millisecond}, r)                   // never at the moment of a read
		if err != nil || !rep.Final {
			t.Fatal(err)
		}
		reports := all["report"]
		if len(reports) != 5 || reports[0]["final"] != false { // after 5.07, 10.14, 15.21, 20.28 s, and at the end
			t.Fatalf("%d reports", len(reports))
		}
		if n := reports[3]["packets"]; n != float64(len(in)/188) || reports[3]["recentBitsPerSecond"] != nil {
			t.Errorf("in the silence: %v packets, %v bit/s", n, reports[3]["recentBitsPerSecond"])
		}
		if v := reports[0]["recentBitsPerSecond"].(float64); v < 0.95*10*188*8*50 || v > 1.05*10*188*8*50 {
			t.Errorf("%v bit/s in the first interval", v)
		}
		if a := reports[1]["arrival"].(map[string]any)["jitterMs"].(float64); a < 60 || a > 120 {
			t.Errorf("arrival jitter %v, about 80 ms came from the size of the reads", a)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := &paced{in: sample(t), each: 1000, wait: time.Second}
		if err := Run(context.Background(), Config{Interval: 4500 * time.Millisecond}, r, &out); err != nil || !strings.Contains(out.String(), "objects with 3.0 kB in 2 tracks, damaged at 0 places") {
			t.Errorf("%v\n%s", err, out.String())
		}
	})
}

// paced gives so many bytes each so often, then waits and ends.
type paced struct {
	in        []byte
	each      int
	wait, end time.Duration
}

func (p *paced) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		time.Sleep(p.end)
		return 0, io.EOF
	}
	time.Sleep(p.wait)
	n := copy(b, p.in[:min(p.each, len(p.in))])
	p.in = p.in[n:]
	return n, nil
}

func TestCaptures(t *testing.T) {
	dir := os.Getenv("EC_CAPTURES")
	if dir == "" {
		t.Skip("EC_CAPTURES is not set")
	}
	f, err := os.Open(filepath.Join(dir, "dvbt-arte-hd-tot-lossy.ts"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rep, _, err := dump(t, Config{}, f)
	if err != nil {
		t.Fatal(err)
	}
	// The figures that others measured on this capture.
	if rep.TR.Priority1.Continuity != 167 || rep.Seconds < 16.5 || rep.Seconds > 16.6 || rep.Time.Tables["TOT"] != 8 || rep.Time.Tables["TDT"] != 1 {
		t.Errorf("%d continuity errors in %v s, tables %v", rep.TR.Priority1.Continuity, rep.Seconds, rep.Time.Tables)
	}
	for _, p := range rep.PIDs {
		if p.What == "h264" && p.Gaps != 49 {
			t.Errorf("%d continuity errors on video, 49 are known", p.Gaps)
		}
	}
}

func FuzzTS(f *testing.F) {
	b := new(builder)
	b.run(func(string, time.Duration) bool { return false })
	f.Add(b.out[:188*40])
	f.Add(broadcast(f, sim.ATSC, 100*time.Millisecond, nil, sim.Impair{})[:188*60])
	f.Fuzz(func(t *testing.T, in []byte) {
		cfg := Config{Sections: true, Log: slog.New(slog.DiscardHandler), Verify: true}
		_ = Run(context.Background(), cfg, bytes.NewReader(in), io.Discard)
		cfg.JSON = true
		_ = Run(context.Background(), cfg, bytes.NewReader(in), io.Discard)
	})
}

func BenchmarkTS(b *testing.B) {
	in := broadcast(b, sim.ATSC, 12*time.Second, nil, sim.Impair{})
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Run(context.Background(), Config{}, bytes.NewReader(in), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
