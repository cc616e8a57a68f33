package pace

import (
	"testing"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// heard is what a receiver hears of a carousel.
type heard struct {
	at      clock.Ticks27
	pid     ts.PID
	section []byte
}

// listen runs a carousel for d in a multiplex that has room for a packet every 0.1 ms.
func listen(t *testing.T, c *Carousel, from clock.Ticks27, d time.Duration) (list []heard) {
	t.Helper()
	assemblers := map[ts.PID]*psi.Assembler{}
	counters := map[ts.PID]uint8{}
	last := clock.Ticks27(-1)
	for at := from; at < from+clock.TicksOf(d).Ticks27(); at += clock.SystemMillisecond / 10 {
		p := c.packet(at)
		if p == nil {
			continue
		}
		if last >= 0 && at-last < spread {
			t.Errorf("two packets in %v", (at - last).Duration())
		}
		last = at
		pid := p.PID()
		if cc, ok := counters[pid]; ok && p.Continuity() != (cc+1)&15 {
			t.Errorf("PID %#x: counter %d after %d", pid, p.Continuity(), cc)
		}
		counters[pid] = p.Continuity()
		if assemblers[pid] == nil {
			assemblers[pid] = &psi.Assembler{}
		}
		assemblers[pid].Feed(p, func(section []byte) { list = append(list, heard{at, pid, append([]byte(nil), section...)}) })
	}
	return list
}

// carousel is one whose stream has program 7.
func carousel() *Carousel {
	c := NewCarousel()
	var cc uint8
	b := psi.AppendPackets(nil, ts.PIDPAT, &cc, psi.PAT{TSID: 1, Programs: []psi.Program{{Number: 7, PID: 0x100}}}.Append(nil))
	c.watch((*ts.Packet)(b))
	return c
}

func sdt(version uint8) []byte {
	return psi.SDT{TSID: 1, ONID: 0x2114, Version: version, LastNumber: 1, Services: []psi.Service{
		{ID: 6, Descriptors: psi.ServiceDescriptor(1, "EC", "Six")}, {ID: 7, Descriptors: psi.ServiceDescriptor(1, "EC", "Seven")},
	}}.Append(nil)
}

func TestCarousel(t *testing.T) {
	c := carousel()
	utc := time.Date(2026, 7, 4, 20, 15, 0, 0, time.UTC)
	c.Time(0, utc)
	c.Section(0, uint16(ts.PIDSDT), sdt(1))
	for n := range uint8(4) { // two sections of this service, two of another one
		c.Section(0, uint16(ts.PIDEIT), psi.DVBEIT{TableID: psi.TableDVBEIT, ServiceID: 6 + uint16(n&1), TSID: 1, ONID: 0x2114, Number: n / 2, LastNumber: 1}.Append(nil))
	}
	c.Section(0, uint16(ts.PIDTDT), psi.TOT{UTC: utc, Descriptors: psi.AppendTimeOffset(nil, psi.TimeOffset{Country: "DEU", Offset: time.Hour})}.Append(nil))
	c.Section(clock.PTS(60*clock.Hz), uint16(ts.PIDSDT), sdt(2)) // holds from the second minute on
	c.Section(0, uint16(ts.PIDSDT), []byte{psi.TableSDT})        // torn
	last := map[uint8]clock.Ticks27{}
	count := map[uint8]int{}
	for _, h := range listen(t, c, 0, 2*time.Minute) {
		id := h.section[0]
		if at, ok := last[id]; ok && h.at-at < apart {
			t.Errorf("two sections of table %#x in %v", id, (h.at - at).Duration())
		}
		last[id] = h.at
		count[id]++
		switch id {
		case psi.TableSDT:
			got, err := psi.ParseSDT(h.section)
			want := uint8(1)
			if h.at >= 60*clock.SystemHz {
				want = 2
			}
			if err != nil || len(got.Services) != 1 || got.Services[0].ID != 7 || got.LastNumber != 0 || got.Version != want && h.at != 60*clock.SystemHz {
				t.Errorf("at %v: %+v, %v", h.at.Duration(), got, err)
			}
		case psi.TableDVBEIT:
			if got, err := psi.ParseDVBEIT(h.section); err != nil || got.ServiceID != 7 {
				t.Errorf("%+v, %v", got, err)
			}
		default:
			got, ok := psi.TableUTC(h.section)
			if d := utc.Add(h.at.Duration()).Sub(got); !ok || d < 0 || d > 1100*time.Millisecond {
				t.Errorf("table %#x at %v says %v", id, h.at.Duration(), got)
			}
		}
	}
	for id, least := range map[uint8]int{psi.TableSDT: 115, psi.TableDVBEIT: 230, psi.TableTDT: 12, psi.TableTOT: 12} {
		if count[id] < least || count[id] > least+12 {
			t.Errorf("table %#x was sent %d times in two minutes, want %d", id, count[id], least)
		}
	}
}

func TestCarouselATSC(t *testing.T) {
	c := carousel()
	utc := time.Date(2026, 7, 4, 20, 15, 0, 0, time.UTC)
	const eit0, eit1 = 0x1d00, 0x1d01
	c.Section(0, uint16(ts.PIDPSIP), psi.MGT{Tables: []psi.MGTTable{{Type: 0x100, PID: eit0}, {Type: 0x101, PID: eit1}}}.Append(nil))
	c.Section(0, uint16(ts.PIDPSIP), psi.VCT{TSID: 1, Channels: []psi.VirtualChannel{
		{ShortName: "SIX", Major: 5, Minor: 1, TSID: 1, Program: 6, SourceID: 60}, {ShortName: "SEVEN", Major: 5, Minor: 2, TSID: 1, Program: 7, SourceID: 70},
	}}.Append(nil))
	for _, source := range []uint16{60, 70} {
		c.Section(0, eit0, psi.EIT{SourceID: source}.Append(nil))
		c.Section(0, eit1, psi.EIT{SourceID: source}.Append(nil))
	}
	stt := psi.STTAt(utc, 18)
	stt.DaylightSavings = 0xe000
	c.Section(0, uint16(ts.PIDPSIP), stt.Append(nil))
	if list := listen(t, c, 0, time.Second); len(list) == 0 {
		t.Fatal("nothing is sent before the time is known")
	}
	c.Time(0, utc)
	count := map[[2]int]int{}
	for _, h := range listen(t, c, 100*clock.SystemHz, 30*time.Second) { // a clock that was set ahead
		count[[2]int{int(h.pid), int(h.section[0])}]++
		switch h.section[0] {
		case psi.TableTVCT:
			if got, err := psi.ParseVCT(h.section); err != nil || len(got.Channels) != 1 || got.Channels[0].SourceID != 70 {
				t.Errorf("%+v, %v", got, err)
			}
		case psi.TableEIT:
			if got, err := psi.ParseEIT(h.section); err != nil || got.SourceID != 70 {
				t.Errorf("%+v, %v", got, err)
			}
		case psi.TableSTT:
			got, err := psi.ParseSTT(h.section)
			if d := utc.Add(h.at.Duration()).Sub(got.UTC()); err != nil || d < 0 || d > 1100*time.Millisecond || got.DaylightSavings != 0xe000 {
				t.Errorf("%+v, %v", got, err)
			}
		}
	}
	for key, least := range map[[2]int]int{ // A/65 §7.3
		{int(ts.PIDPSIP), psi.TableMGT}: 200, {int(ts.PIDPSIP), psi.TableTVCT}: 75, {int(ts.PIDPSIP), psi.TableSTT}: 28, {eit0, psi.TableEIT}: 60, {eit1, psi.TableEIT}: 10,
	} {
		if n := count[key]; n < least || n > least*5/4 {
			t.Errorf("table %#x was sent %d times in 30 s, want %d", key, n, least)
		}
	}
}

// Without a PAT nobody knows which service the tables are to tell of.
func TestCarouselWithoutPAT(t *testing.T) {
	c := NewCarousel()
	c.Section(0, uint16(ts.PIDSDT), sdt(1))
	if list := listen(t, c, 0, time.Second); len(list) > 0 {
		t.Errorf("%d sections", len(list))
	}
}

// What an archive's tables say comes long before its media: each time counts from its place on, and what is still to come is bounded.
func TestCarouselOfAnArchive(t *testing.T) {
	c := carousel()
	utc := time.Date(2026, 7, 4, 20, 15, 0, 0, time.UTC)
	c.Section(0, uint16(ts.PIDSDT), sdt(1))
	fed := make(chan int)
	go func() { // an hour in steps of 100 ms; the broadcaster's UTC is an hour ahead from the 10th minute on
		n := 0
		for ; n < 36_000; n++ {
			at := clock.Ticks(n) * clock.Hz / 10
			said := utc.Add(at.Duration())
			if n >= 6000 {
				said = said.Add(time.Hour)
			}
			c.Time(at.PTS(), said)
		}
		fed <- n
	}()
	tables := 0
	for at := clock.Ticks27(0); at < 20*60*clock.SystemHz; at += clock.SystemMillisecond {
		p := c.packet(at)
		if at%clock.SystemHz == 0 {
			time.Sleep(50 * time.Microsecond) // so that the feeder has its turn
		}
		if p == nil || p.PID() != ts.PIDTDT {
			continue
		}
		got, _ := psi.TableUTC(p.Payload()[1:9])
		want := utc.Add(at.Duration())
		if at >= 600*clock.SystemHz {
			want = want.Add(time.Hour)
		}
		if d := want.Sub(got); d < 0 || d > 1100*time.Millisecond {
			t.Fatalf("at %v: %v", at.Duration(), got)
		}
		tables++
	}
	if tables < 100 {
		t.Errorf("%d time tables in 20 minutes", tables)
	}
	c.mu.Lock()
	held := len(c.times)
	c.mu.Unlock()
	if held > maxComing {
		t.Errorf("%d times are held", held)
	}
	select {
	case n := <-fed:
		t.Errorf("all %d times were taken", n)
	default:
	}
	c.close()
	<-fed
}

// A section that its broadcaster no longer sends is forgotten.
func TestCarouselForgets(t *testing.T) {
	c := carousel()
	c.Section(0, uint16(ts.PIDNIT), psi.NIT{NetworkID: 1}.Append(nil))
	for minute := range 40 {
		c.Section(clock.PTS(minute*60*clock.Hz), uint16(ts.PIDSDT), sdt(1))
	}
	nit, sdts := 0, 0
	for _, h := range listen(t, c, 0, 40*time.Minute) {
		if late := h.at > outdated+60*clock.SystemHz; late && h.section[0] == psi.TableNIT {
			nit++
		} else if late && h.section[0] == psi.TableSDT {
			sdts++
		}
	}
	if nit > 0 || sdts < 500 {
		t.Errorf("behind half an hour: %d NIT and %d SDT", nit, sdts)
	}
}
