package psi

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/es"
	"every.channel/ec/lib/ts"
	"github.com/asticode/go-astits"
)

var (
	day      = time.Date(2026, 11, 23, 2, 41, 59, 0, time.UTC)
	english  = LanguageDescriptor("eng")
	ac3      = AppendDescriptor(english, TagAC3, []byte{0})
	registry = AppendDescriptor(nil, TagRegistration, []byte("GA94"))
)

// table is what all tables have in common.
type table interface{ Append([]byte) []byte }

// samples holds one of every table, with all of its fields in use.
var samples = []struct {
	name  string
	table table
	parse func([]byte) (any, error)
}{
	{"PAT", PAT{TSID: 2065, Version: 31, NIT: 0x10, Programs: []Program{{3, 0x30}, {65535, 0x1ffe}}}, any1(ParsePAT)},
	{"PAT next", PAT{TSID: 1, Version: 1, Next: true, Number: 1, LastNumber: 2}, any1(ParsePAT)},
	{"PMT", PMT{Program: 3, Version: 7, PCRPID: 0x31, Descriptors: registry, Streams: []Stream{
		{TypeMPEG2Video, 0x31, nil}, {TypeAC3, 0x34, english}, {TypePrivate, 0x35, ac3}}}, any1(ParsePMT)},
	{"STT", STT{SystemTime: 1479436937, GPSUTCOffset: 18, DaylightSavings: 0x6000, Descriptors: registry}, any1(ParseSTT)},
	{"MGT", MGT{Version: 2, Tables: []MGTTable{{Type: 0, PID: 0x1ffb, Version: 3, Bytes: 200},
		{Type: 0x100, PID: 0x1d00, Version: 4, Bytes: 70000, Descriptors: registry}}, Descriptors: registry}, any1(ParseMGT)},
	{"TVCT", VCT{TSID: 2065, Version: 1, Descriptors: registry, Channels: []VirtualChannel{
		{ShortName: "KEVR-DT", Major: 5, Minor: 1, Modulation: 4, TSID: 2065, Program: 3, ServiceType: 2, SourceID: 1, Descriptors: registry},
		{ShortName: "Über", Major: 1023, Minor: 1023, TSID: 65535, Program: 65535, Hidden: true, Controlled: true, ServiceType: 63, SourceID: 9}}}, any1(ParseVCT)},
	{"CVCT", VCT{Cable: true, TSID: 7, Version: 1, Channels: []VirtualChannel{{ShortName: "A", Major: 999, Minor: 10}}}, any1(ParseVCT)},
	{"EIT", EIT{SourceID: 1, Version: 3, LastNumber: 1, Events: []Event{
		{ID: 0x3fff, Start: 1479436937, Length: 90 * time.Minute, ETM: 1, Title: English("News at nine"), Descriptors: english},
		{ID: 2, Start: 1, Length: time.Second, Title: Text{{Language: "spa", Text: "¿Qué?"}, {Language: "jpn", Text: "ニュース"}}}}}, any1(ParseEIT)},
	{"ETT", ETT{Extension: 4, Version: 2, ETMID: 1<<16 | 7<<2 | 2, Message: English(strings.Repeat("A long story. ", 40))}, any1(ParseETT)},
	{"TDT", TDT{day}, any1(ParseTDT)},
	{"TOT", TOT{day, AppendTimeOffset(nil, TimeOffset{Country: "DEU", Offset: time.Hour, Change: day, Next: 2 * time.Hour})}, any1(ParseTOT)},
	{"SDT", SDT{TSID: 1, ONID: 8468, Version: 5, Services: []Service{
		{ID: 3, EITSchedule: true, EITPF: true, Running: 4, FreeCA: true, Descriptors: ServiceDescriptor(0x19, "ARD", "arte HD")},
		{ID: 4, Running: 1, Descriptors: ServiceDescriptor(1, "Český", "ČT 1")}}}, any1(ParseSDT)},
	{"SDT other", SDT{Other: true, TSID: 2, ONID: 3}, any1(ParseSDT)},
	{"DVB EIT", DVBEIT{TableID: 0x4e, ServiceID: 3, Version: 8, LastNumber: 1, TSID: 1, ONID: 8468, LastSegment: 1, LastTableID: 0x4e, Events: []DVBEvent{
		{ID: 77, Start: day, Length: 95 * time.Minute, Running: 4, FreeCA: true, Descriptors: ShortEvent("deu", "Tagesschau", "Nachrichten")},
		{ID: 78, Length: time.Second}}}, any1(ParseDVBEIT)},
	{"NIT", NIT{NetworkID: 12289, Version: 1, Descriptors: AppendDescriptor(nil, TagNetworkName, []byte("DVB-T2")),
		Streams: []NetworkStream{{1, 8468, registry}, {2, 8468, nil}}}, any1(ParseNIT)},
}

func any1[T any](f func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return f(b) }
}

func TestTablesRoundTrip(t *testing.T) {
	for _, s := range samples {
		b := s.table.Append([]byte("before"))
		if !bytes.HasPrefix(b, []byte("before")) {
			t.Fatalf("%s: Append does not append", s.name)
		}
		b = b[6:]
		if err := Check(b); err != nil {
			t.Errorf("%s: %v: % x", s.name, err, b)
		}
		got, err := s.parse(b)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		again := got.(table).Append(nil)
		if !bytes.Equal(again, b) {
			t.Errorf("%s: written again it differs:\n% x\n% x", s.name, again, b)
		}
		if !reflect.DeepEqual(dropEmpty(got), dropEmpty(s.table)) {
			t.Errorf("%s: read back as\n%+v\nwant\n%+v", s.name, got, s.table)
		}
		// No prefix is a section, and no parser reads beyond one.
		for n := range b {
			if err := Check(b[:n]); err == nil {
				t.Errorf("%s: cut at %d verifies", s.name, n)
			}
			if _, err := s.parse(b[:n:n]); err == nil {
				t.Errorf("%s: cut at %d is parsed", s.name, n)
			}
		}
		// A parser takes its own tables only.
		for _, o := range samples {
			_, err := s.parse(o.table.Append(nil))
			if reflect.TypeOf(s.table) != reflect.TypeOf(o.table) && err == nil {
				t.Errorf("%s is parsed as %s", o.name, s.name)
			}
		}
	}
}

// dropEmpty sets empty slices to nil, through all of v.
func dropEmpty(v any) any {
	p := reflect.New(reflect.TypeOf(v)).Elem()
	p.Set(reflect.ValueOf(v))
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			if v.Type() == reflect.TypeOf(time.Time{}) {
				return
			}
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		case reflect.Slice:
			if v.Len() == 0 && v.CanSet() {
				v.SetZero()
				return
			}
			for i := range v.Len() {
				walk(v.Index(i))
			}
		}
	}
	walk(p)
	return p.Interface()
}

func TestCRC32(t *testing.T) {
	// The check value of CRC-32/MPEG-2.
	if got := CRC32([]byte("123456789")); got != 0x0376e6e7 {
		t.Errorf("%08x", got)
	}
	b := samples[0].table.Append(nil)
	b[9] ^= 1
	if err := Check(b); !errors.Is(err, ErrCRC) {
		t.Errorf("a flipped bit gives %v", err)
	}
}

func TestNames(t *testing.T) {
	sdt, err := ParseSDT(SDT{Services: []Service{{Descriptors: ServiceDescriptor(0x19, "ARD", "arte HD")}}}.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if kind, provider, name := sdt.Services[0].Name(); kind != 0x19 || provider != "ARD" || name != "arte HD" {
		t.Errorf("%#x %q %q", kind, provider, name)
	}
	lang, name, text := DVBEvent{Descriptors: ShortEvent("deu", "Tagesschau", "Große Nachrichten")}.Short()
	if lang != "deu" || name != "Tagesschau" || text != "Große Nachrichten" {
		t.Errorf("%q %q %q", lang, name, text)
	}
	if got := (VirtualChannel{Major: 5, Minor: 1}).Channel(); got != "5.1" {
		t.Errorf("channel %q", got)
	}
	if got := (MGTTable{Type: 0x102}).Name(); got != "EIT-2" {
		t.Errorf("table type 0x102 is %q", got)
	}
	// Descriptors that lie about their lengths.
	for _, d := range []Descriptors{{}, {0x48}, {0x48, 200, 1, 2}, {0x48, 0}, {0x48, 2, 1, 200}, {0x48, 3, 1, 1, 65}, {0x48, 4, 1, 0, 200, 65}} {
		Service{Descriptors: d}.Name()
	}
	for n := range ShortEvent("deu", "name", "text") {
		d := append(Descriptors{}, ShortEvent("deu", "name", "text")[:n]...)
		if n > 1 {
			d[1] = byte(n - 2)
		}
		DVBEvent{Descriptors: d}.Short()
	}
}

func TestCodec(t *testing.T) {
	reg := func(s string) Descriptors { return AppendDescriptor(nil, TagRegistration, []byte(s)) }
	for _, c := range []struct {
		s    Stream
		want es.Codec
	}{
		{Stream{Type: TypeMPEG2Video}, es.MPEG2Video},
		{Stream{Type: TypeH264}, es.H264},
		{Stream{Type: TypeHEVC}, es.HEVC},
		{Stream{Type: TypeMPEG2Audio}, es.MP2},
		{Stream{Type: TypeAC3}, es.AC3},
		{Stream{Type: TypeAACLATM}, es.AACLATM},
		{Stream{Type: TypeSCTE35}, es.SCTE35},
		{Stream{Type: TypePrivate, Descriptors: ac3}, es.AC3},
		{Stream{Type: TypePrivate, Descriptors: AppendDescriptor(english, TagEAC3, nil)}, es.EAC3},
		{Stream{Type: TypePrivate, Descriptors: AppendDescriptor(nil, TagTeletext, nil)}, es.Teletext},
		{Stream{Type: TypePrivate, Descriptors: AppendDescriptor(nil, TagSubtitling, nil)}, es.DVBSub},
		{Stream{Type: TypePrivate, Descriptors: AppendDescriptor(nil, TagExtension, []byte{0x15})}, es.AC4},
		{Stream{Type: TypePrivate, Descriptors: reg("AC-4")}, es.AC4},
		{Stream{Type: TypePrivate, Descriptors: reg("Opus")}, es.Opus},
		{Stream{Type: TypePrivate}, es.Data},
		{Stream{Type: 0xfe}, es.Unknown},
	} {
		if got := c.s.Codec(); got != c.want {
			t.Errorf("%v %x: %s, want %s", c.s.Type, []byte(c.s.Descriptors), got, c.want)
		}
	}
	if !es.H264.Video() || es.H264.Audio() || !es.AC4.Audio() || es.Teletext.Video() || es.Teletext.Audio() {
		t.Error("video and audio are mixed up")
	}
}

// A second reader of our sections: astits must find the same.
func TestAgainstAstits(t *testing.T) {
	var stream []byte
	cc := map[ts.PID]*uint8{}
	add := func(pid ts.PID, x table) {
		if cc[pid] == nil {
			cc[pid] = new(uint8)
		}
		stream = AppendPackets(stream, pid, cc[pid], x.Append(nil))
	}
	pat := PAT{TSID: 2065, Programs: []Program{{3, 0x30}}}
	pmt := PMT{Program: 3, PCRPID: 0x31, Streams: []Stream{{TypeH264, 0x31, nil}, {TypePrivate, 0x34, ac3}}}
	sdt := SDT{TSID: 2065, ONID: 1, Services: []Service{{ID: 3, EITPF: true, Running: 4, Descriptors: ServiceDescriptor(1, "every", "channel")}}}
	tot := TOT{day, AppendTimeOffset(nil, TimeOffset{Country: "DEU", Offset: -time.Hour, Change: day, Next: -2 * time.Hour})}
	eit := DVBEIT{TableID: 0x4e, ServiceID: 3, TSID: 2065, ONID: 1, LastTableID: 0x4e,
		Events: []DVBEvent{{ID: 7, Start: day, Length: time.Hour + 2*time.Second, Running: 4, Descriptors: ShortEvent("eng", "News", strings.Repeat("x", 150))}}}
	for range 3 {
		add(ts.PIDPAT, pat)
		add(0x30, pmt)
		add(ts.PIDSDT, sdt)
		add(ts.PIDTDT, tot)
		add(ts.PIDEIT, eit)
	}
	var seen []string
	dmx := astits.NewDemuxer(context.Background(), bytes.NewReader(stream), astits.DemuxerOptPacketSize(188))
	for {
		d, err := dmx.NextData()
		if err != nil {
			break
		}
		switch {
		case d.PAT != nil:
			seen = append(seen, "PAT")
			if d.PAT.TransportStreamID != 2065 || d.PAT.Programs[0].ProgramNumber != 3 || d.PAT.Programs[0].ProgramMapID != 0x30 {
				t.Errorf("PAT %+v", d.PAT)
			}
		case d.PMT != nil:
			seen = append(seen, "PMT")
			if d.PMT.ProgramNumber != 3 || d.PMT.PCRPID != 0x31 || len(d.PMT.ElementaryStreams) != 2 || d.PMT.ElementaryStreams[1].ElementaryPID != 0x34 {
				t.Errorf("PMT %+v", d.PMT)
			}
		case d.SDT != nil:
			seen = append(seen, "SDT")
			s := d.SDT.Services[0]
			if d.SDT.OriginalNetworkID != 1 || s.ServiceID != 3 || s.RunningStatus != 4 || string(s.Descriptors[0].Service.Name) != "channel" {
				t.Errorf("SDT %+v", s)
			}
		case d.TOT != nil:
			seen = append(seen, "TOT")
			o := d.TOT.Descriptors[0].LocalTimeOffset.Items[0]
			if !d.TOT.UTCTime.Equal(day) || !o.LocalTimeOffsetPolarity || o.LocalTimeOffset != time.Hour || !o.TimeOfChange.Equal(day) {
				t.Errorf("TOT %v %+v", d.TOT.UTCTime, o)
			}
		case d.EIT != nil:
			seen = append(seen, "EIT")
			e := d.EIT.Events[0]
			if !e.StartTime.Equal(day) || e.Duration != time.Hour+2*time.Second || string(e.Descriptors[0].ShortEvent.EventName) != "News" {
				t.Errorf("EIT %+v", e)
			}
		}
	}
	if got := strings.Join(seen, " "); !strings.Contains(got, "PAT") || !strings.Contains(got, "PMT") || !strings.Contains(got, "SDT") ||
		!strings.Contains(got, "TOT") || !strings.Contains(got, "EIT") {
		t.Errorf("astits saw %s", got)
	}
}

// captured feeds every section of a capture to f.
func captured(t *testing.T, name string, f func(pid ts.PID, section []byte)) {
	t.Helper()
	dir := os.Getenv("EC_CAPTURES")
	if dir == "" {
		t.Skip("EC_CAPTURES is not set")
	}
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	asm := map[ts.PID]*Assembler{}
	si := map[ts.PID]bool{0: true, 1: true, 0x10: true, 0x11: true, 0x12: true, 0x14: true}
	rd := ts.NewReader(file)
	for {
		p, err := rd.Next()
		var lost *ts.SyncError
		if errors.As(err, &lost) {
			continue
		}
		if err != nil {
			return
		}
		pid := p.PID()
		if !si[pid] {
			continue
		}
		if asm[pid] == nil {
			asm[pid] = new(Assembler)
		}
		asm[pid].Feed(p, func(s []byte) {
			if s[0] == TablePAT {
				if pat, err := ParsePAT(s); err == nil {
					for _, p := range pat.Programs {
						si[p.PID] = true
					}
				}
			}
			f(pid, s)
		})
	}
}

func TestCaptureArte(t *testing.T) {
	var tdt, tot []time.Time
	codecs := map[es.Codec]int{}
	captured(t, "dvbt-arte-hd-tot-lossy.ts", func(pid ts.PID, s []byte) {
		switch s[0] {
		case TableTDT, TableTOT:
			utc, ok := TableUTC(s)
			if !ok {
				t.Errorf("a time table without time: % x", s)
			}
			if s[0] == TableTDT {
				tdt = append(tdt, utc)
			} else {
				tot = append(tot, utc)
			}
		case TablePMT:
			pmt, err := ParsePMT(s)
			if err != nil {
				t.Error(err)
			}
			for _, s := range pmt.Streams {
				codecs[s.Codec()]++
			}
		}
	})
	if len(tdt) != 1 || len(tot) != 8 {
		t.Errorf("%d TDT and %d TOT, 1 and 8 are in the capture", len(tdt), len(tot))
	}
	if codecs[es.H264] == 0 || codecs[es.EAC3] == 0 {
		t.Errorf("codecs %v, H.264 and E-AC-3 are in the capture", codecs)
	}
	first := time.Date(2019, 1, 22, 12, 51, 9, 0, time.UTC)
	for _, u := range append(tdt, tot...) {
		if u.Before(first) || u.After(first.Add(16*time.Second)) {
			t.Errorf("time %v", u)
		}
	}
}

func TestCaptureTimeEdges(t *testing.T) {
	for _, name := range []string{"tdt-edge-1.ts", "tdt-edge-4.ts"} {
		n := 0
		captured(t, name, func(pid ts.PID, s []byte) {
			if s[0] != TableTDT && s[0] != TableTOT {
				return
			}
			n++
			utc, ok := TableUTC(s)
			t.Logf("%s: % x is %v %v", name, s[3:8], utc, ok)
			if ok && !Plausible(utc) {
				t.Errorf("%s: %v is taken", name, utc)
			}
		})
		if n == 0 {
			t.Errorf("%s: no time table found", name)
		}
	}
}

func TestTableUTC(t *testing.T) {
	mjd := func(b ...byte) []byte { return append([]byte{TableTDT, 0x70, 5}, b...) }
	for _, c := range []struct {
		name    string
		section []byte
		want    string
	}{
		{"TDT", TDT{day}.Append(nil), "2026-11-23T02:41:59Z"},
		{"TOT", TOT{UTC: day}.Append(nil), "2026-11-23T02:41:59Z"},
		{"STT", STTAt(day, 18).Append(nil), "2026-11-23T02:41:59Z"},
		{"the example of EN 300 468 annex C", mjd(0xb0, 0xa2, 0x12, 0x45, 0x00), "1982-09-06T12:45:00Z"},
		{"the first day of 1980", mjd(0xac, 0xcf, 0x00, 0x00, 0x00), "1980-01-01T00:00:00Z"},
		{"the last day of 1979", mjd(0xac, 0xce, 0x23, 0x59, 0x59), ""},
		{"the last day of MJD", mjd(0xff, 0xff, 0x23, 0x59, 0x59), "2038-04-22T23:59:59Z"},
		{"MJD wrapped", mjd(0x00, 0x00, 0x00, 0x00, 0x00), ""},
		{"undefined", mjd(0xff, 0xff, 0xff, 0xff, 0xff), ""},
		{"no BCD", mjd(0xee, 0xee, 0x1a, 0x00, 0x00), ""},
		{"25 o'clock", mjd(0xee, 0xee, 0x25, 0x00, 0x00), ""},
		{"61 minutes", mjd(0xee, 0xee, 0x20, 0x61, 0x00), ""},
		{"the first system_time", STT{SystemTime: 0, GPSUTCOffset: 0}.Append(nil), "1980-01-06T00:00:00Z"},
		{"the last system_time", STT{SystemTime: 1<<32 - 1, GPSUTCOffset: 18}.Append(nil), "2116-02-12T06:27:57Z"},
		{"protocol_version 1", protocol(STTAt(day, 18), 1), ""},
		{"not a time table", PAT{}.Append(nil), ""},
		{"nothing", nil, ""},
		{"cut", TDT{day}.Append(nil)[:7], ""},
	} {
		utc, ok := TableUTC(c.section)
		got := ""
		if ok {
			got = utc.Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// protocol is the section of a PSIP table with another protocol_version.
func protocol(x table, version byte) []byte {
	b := x.Append(nil)
	b[headerLen] = version
	return end(b[:len(b)-crcLen], 0)
}

// A/65 §6: what follows a protocol_version that is not known may mean anything.
func TestProtocolVersion(t *testing.T) {
	n := 0
	for _, s := range samples {
		if b := s.table.Append(nil); b[0] < TableMGT || b[0] > TableSTT {
			continue
		}
		n++
		if _, err := s.parse(protocol(s.table, 0)); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if _, err := s.parse(protocol(s.table, 1)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s of protocol_version 1: %v, want %v", s.name, err, ErrProtocol)
		}
	}
	if n < 6 {
		t.Errorf("%d tables of PSIP, want 6", n)
	}
}

func TestPlausible(t *testing.T) {
	for _, c := range []struct {
		utc  string
		want bool
	}{
		{"1858-11-17T00:00:00Z", false}, // an MJD of 0
		{"1979-12-31T23:59:59Z", false},
		{"1980-01-01T00:00:00Z", true},
		{"1979-12-31T23:30:00-01:00", true}, // 1980 in UTC
		{"1990-01-01T00:00:00Z", true},
		{"2199-12-31T23:59:59Z", true},
		{"2200-01-01T00:00:00Z", false},
	} {
		utc, err := time.Parse(time.RFC3339, c.utc)
		if err != nil || Plausible(utc) != c.want {
			t.Errorf("%s: %v, %v", c.utc, !c.want, err)
		}
	}
}

func TestChannelNumber(t *testing.T) {
	for _, c := range []struct {
		major, minor uint16
		want         string
	}{
		{5, 1, "5.1"},
		{99, 999, "99.999"},
		{5, 0, "5.0"}, // analogue
		{0, 0, ""},
		{0x3f0 | 1234>>10, 1234 & 0x3ff, "1234"},
		{0x3f0, 7, "7"},
		{0x3ff, 0x3ff, "16383"},
		{0x3ef, 1, "1007.1"},
	} {
		if got := (VirtualChannel{Major: c.major, Minor: c.minor}).Channel(); got != c.want {
			t.Errorf("%#x, %#x: %q, want %q", c.major, c.minor, got, c.want)
		}
	}
}

func TestVCTOf(t *testing.T) {
	v := VCT{TSID: 2065, Channels: []VirtualChannel{
		{ShortName: "FAR", TSID: 999, Program: 3},
		{ShortName: "HERE", TSID: 2065, Program: 3},
		{ShortName: "FAR2", TSID: 999, Program: 4},
		{ShortName: "OFF", TSID: 2065, Program: 0},
		{ShortName: "NTSC", TSID: 2065, Program: 0xffff},
	}}
	next := v
	next.Next = true
	for _, c := range []struct {
		name    string
		table   VCT
		program uint16
		want    string
	}{
		{"of this transport stream", v, 3, "HERE"},
		{"only of another", v, 4, ""},
		{"not listed", v, 5, ""},
		{"inactive", v, 0, ""},
		{"analogue", v, 0xffff, ""},
		{"not yet applicable", next, 3, ""},
	} {
		got, ok := c.table.Of(c.program)
		if ok != (c.want != "") || got.ShortName != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got.ShortName, ok, c.want)
		}
		if parsed, err := ParseVCT(c.table.Append(nil)); err != nil || parsed.Next != c.table.Next {
			t.Errorf("%s: next %v, %v", c.name, parsed.Next, err)
		}
	}
}

func TestSDTOf(t *testing.T) {
	here := SDT{TSID: 1, ONID: 8468, Services: []Service{{ID: 3, Running: 4}}}
	next, other := here, here
	next.Next, other.Other = true, true
	for _, c := range []struct {
		name    string
		table   SDT
		program uint16
		want    bool
	}{
		{"listed", here, 3, true}, {"not listed", here, 4, false}, {"not yet applicable", next, 3, false}, {"of another transport stream", other, 3, false},
	} {
		parsed, err := ParseSDT(c.table.Append(nil))
		if s, ok := parsed.Of(c.program); err != nil || ok != c.want || ok && s.Running != 4 {
			t.Errorf("%s: %+v, %v, %v", c.name, s, ok, err)
		}
	}
}

func TestTimeOffsets(t *testing.T) {
	want := TimeOffset{Country: "ESP", Region: 2, Offset: -time.Hour, Change: day, Next: -30 * time.Minute}
	got := TOT{Descriptors: AppendTimeOffset(nil, want)}.LocalTimeOffsets()
	if len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A second reader of real broadcasts: astits must find the same tables in a capture.
func TestCaptureAgainstAstits(t *testing.T) {
	type pmt struct {
		program uint16
		pcr     uint16
		streams int
	}
	ours, theirs := map[string]int{}, map[string]int{}
	pmts := map[pmt]bool{}
	const name = "dvbt-arte-hd-tot-lossy.ts"
	captured(t, name, func(pid ts.PID, s []byte) {
		switch s[0] {
		case TablePAT:
			ours["PAT"]++
		case TablePMT:
			p, err := ParsePMT(s)
			if err != nil {
				t.Error(err)
			}
			ours["PMT"]++
			pmts[pmt{p.Program, uint16(p.PCRPID), len(p.Streams)}] = true
		case TableSDT:
			ours["SDT"]++
		case TableTOT:
			ours["TOT"]++
		}
	})
	f, err := os.Open(filepath.Join(os.Getenv("EC_CAPTURES"), name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dmx := astits.NewDemuxer(context.Background(), f, astits.DemuxerOptPacketSize(188))
	for {
		d, err := dmx.NextData()
		if errors.Is(err, astits.ErrNoMorePackets) {
			break
		}
		switch {
		case err != nil || d == nil:
		case d.PAT != nil:
			theirs["PAT"]++
		case d.PMT != nil:
			theirs["PMT"]++
			if k := (pmt{d.PMT.ProgramNumber, d.PMT.PCRPID, len(d.PMT.ElementaryStreams)}); !pmts[k] {
				t.Errorf("astits has a PMT %+v that we have not", k)
			}
		case d.SDT != nil:
			theirs["SDT"]++
		case d.TOT != nil:
			theirs["TOT"]++
		}
	}
	t.Logf("ours %v, astits %v", ours, theirs)
	for k, n := range theirs {
		if d := ours[k] - n; d < -1 || d > 1 { // the first or last may be judged otherwise
			t.Errorf("%s: %d sections, astits has %d", k, ours[k], n)
		}
	}
	if len(theirs) < 4 {
		t.Errorf("astits found only %v", theirs)
	}
}
