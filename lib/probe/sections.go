package probe

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// sectionLine is a section in JSON.
type sectionLine struct {
	V         int    `json:"v"`
	Type      string `json:"type"` // "section"
	PID       ts.PID `json:"pid"`
	Packet    int64  `json:"packet,omitempty"` // that completed it
	Table     string `json:"table"`
	TableID   uint8  `json:"tableId"`
	Extension *int   `json:"extension,omitempty"` // table_id_extension
	Version   *int   `json:"version,omitempty"`
	Number    *int   `json:"number,omitempty"`
	Last      *int   `json:"lastNumber,omitempty"`
	Next      bool   `json:"next,omitempty"` // not yet applicable
	Length    int    `json:"length"`
	Decoded   any    `json:"decoded,omitempty"`
	Error     string `json:"error,omitempty"`
	Hex       string `json:"hex,omitempty"` // of tables that are not decoded
}

// printSection prints a table. l says where it was.
func printSection(out *lines, asJSON bool, l sectionLine, section []byte, leap uint8) {
	l.V, l.Type, l.Table, l.TableID, l.Length = 1, "section", tableName(section[0]), section[0], len(section)
	if h, err := psi.ParseHeader(section); err == nil {
		e, v, i, last := int(h.Extension), int(h.Version), int(h.Number), int(h.LastNumber)
		l.Extension, l.Version, l.Number, l.Last, l.Next = &e, &v, &i, &last, h.Next
	}
	decoded, text, err := decode(section, leap)
	switch {
	case err != nil:
		l.Error = err.Error()
		text = []string{l.Error}
	case decoded == nil:
		l.Hex = hex.EncodeToString(section)
		text = []string{hex.EncodeToString(section[:min(len(section), 32)])}
	default:
		l.Decoded = decoded
	}
	if asJSON {
		out.put(l)
		return
	}
	out.printf("0x%04x %s", l.PID, l.Table)
	if l.Version != nil {
		out.printf(" 0x%04x version %d", *l.Extension, *l.Version)
		if *l.Last > 0 {
			out.printf(" section %d/%d", *l.Number, *l.Last)
		}
		if l.Next {
			out.printf(" (next)")
		}
	}
	out.printf(": %s\n", strings.Join(text, "\n       "))
}

type fields = map[string]any

// decode parses a section: for JSON, and as lines of text. decoded is nil for tables it does not know.
func decode(section []byte, leap uint8) (decoded any, text []string, err error) {
	say := func(format string, a ...any) { text = append(text, fmt.Sprintf(format, a...)) }
	switch id := section[0]; {
	case id == psi.TablePAT:
		t, err := psi.ParsePAT(section)
		say("transport stream %d", t.TSID)
		programs := []fields{}
		for _, p := range t.Programs {
			programs = append(programs, fields{"program": p.Number, "pid": p.PID})
			say("program %d: PMT 0x%04x", p.Number, p.PID)
		}
		return fields{"tsid": t.TSID, "programs": programs, "nitPid": t.NIT}, text, err
	case id == psi.TablePMT:
		t, err := psi.ParsePMT(section)
		say("program %d, PCR 0x%04x%s", t.Program, t.PCRPID, tags(t.Descriptors))
		streams := []fields{}
		for _, s := range t.Streams {
			streams = append(streams, fields{"pid": s.PID, "streamType": s.Type, "codec": t.Codec(s), "descriptors": loop(s.Descriptors)})
			say("0x%04x type 0x%02x %s %s%s", s.PID, uint8(s.Type), t.Codec(s), s.Descriptors.Language(), tags(s.Descriptors))
		}
		return fields{"program": t.Program, "pcrPid": t.PCRPID, "streams": streams, "descriptors": loop(t.Descriptors)}, text, err
	case id == psi.TableSTT:
		t, err := psi.ParseSTT(section)
		say("%s, system_time %d, GPS_UTC_offset %d", t.UTC().Format(time.RFC3339), t.SystemTime, t.GPSUTCOffset)
		return fields{"utc": t.UTC(), "systemTime": t.SystemTime, "gpsUtcOffset": t.GPSUTCOffset, "daylightSavings": t.DaylightSavings}, text, err
	case id == psi.TableTDT:
		t, err := psi.ParseTDT(section)
		say("%s", t.UTC.Format(time.RFC3339))
		return fields{"utc": t.UTC}, text, err
	case id == psi.TableTOT:
		t, err := psi.ParseTOT(section)
		say("%s", t.UTC.Format(time.RFC3339))
		offsets := []fields{}
		for _, o := range t.LocalTimeOffsets() {
			offsets = append(offsets, fields{"country": o.Country, "region": o.Region, "offset": o.Offset.String(), "change": o.Change, "next": o.Next.String()})
			say("%s region %d: %v, from %s %v", o.Country, o.Region, o.Offset, o.Change.Format(time.RFC3339), o.Next)
		}
		return fields{"utc": t.UTC, "offsets": offsets}, text, err
	case id == psi.TableMGT:
		t, err := psi.ParseMGT(section)
		say("%d tables", len(t.Tables))
		tables := []fields{}
		for _, e := range t.Tables {
			tables = append(tables, fields{"type": e.Type, "name": e.Name(), "pid": e.PID, "version": e.Version, "bytes": e.Bytes})
			say("%s: 0x%04x version %d, %d bytes", e.Name(), e.PID, e.Version, e.Bytes)
		}
		return fields{"tables": tables}, text, err
	case id == psi.TableTVCT, id == psi.TableCVCT:
		t, err := psi.ParseVCT(section)
		say("transport stream %d", t.TSID)
		channels := []fields{}
		for _, c := range t.Channels {
			channels = append(channels, fields{"channel": c.Channel(), "name": c.ShortName, "tsid": c.TSID, "program": c.Program,
				"sourceId": c.SourceID, "serviceType": c.ServiceType, "modulation": c.Modulation, "hidden": c.Hidden, "accessControlled": c.Controlled})
			say("%s %q: program %d of %d, source %d, service type %d", c.Channel(), c.ShortName, c.Program, c.TSID, c.SourceID, c.ServiceType)
		}
		return fields{"tsid": t.TSID, "cable": t.Cable, "channels": channels}, text, err
	case id == psi.TableEIT:
		t, err := psi.ParseEIT(section)
		say("source %d", t.SourceID)
		events := []fields{}
		for _, e := range t.Events {
			start := e.StartUTC(leap)
			events = append(events, fields{"id": e.ID, "start": start, "seconds": int(e.Length / time.Second), "title": e.Title.String(), "compressed": compressed(e.Title)})
			say("%s %v %q", start.Format(time.RFC3339), e.Length, e.Title.String())
		}
		return fields{"sourceId": t.SourceID, "events": events}, text, err
	case id == psi.TableETT:
		t, err := psi.ParseETT(section)
		say("%#08x %q", t.ETMID, t.Message.String())
		return fields{"etmId": t.ETMID, "text": t.Message.String(), "compressed": compressed(t.Message)}, text, err
	case id == psi.TableSDT, id == psi.TableSDTOther:
		t, err := psi.ParseSDT(section)
		say("transport stream %d of network %d", t.TSID, t.ONID)
		services := []fields{}
		for _, s := range t.Services {
			kind, provider, name := s.Name()
			services = append(services, fields{"service": s.ID, "serviceType": kind, "provider": provider, "name": name, "running": s.Running,
				"freeCA": s.FreeCA, "eitSchedule": s.EITSchedule, "eitPF": s.EITPF})
			say("service %d %q of %q, type 0x%02x, running status %d", s.ID, name, provider, kind, s.Running)
		}
		return fields{"tsid": t.TSID, "onid": t.ONID, "other": t.Other, "services": services}, text, err
	case id >= psi.TableDVBEIT && id <= 0x6f:
		t, err := psi.ParseDVBEIT(section)
		say("service %d in %d of network %d", t.ServiceID, t.TSID, t.ONID)
		events := []fields{}
		for _, e := range t.Events {
			lang, name, about := e.Short()
			events = append(events, fields{"id": e.ID, "start": e.Start, "seconds": int(e.Length / time.Second), "running": e.Running, "freeCA": e.FreeCA,
				"lang": lang, "name": name, "text": about})
			say("%s %v %q", e.Start.Format(time.RFC3339), e.Length, name)
		}
		return fields{"service": t.ServiceID, "tsid": t.TSID, "onid": t.ONID, "events": events}, text, err
	case id == psi.TableNIT, id == psi.TableNITOther:
		t, err := psi.ParseNIT(section)
		say("network %d %q", t.NetworkID, t.Name())
		streams := []fields{}
		for _, s := range t.Streams {
			streams = append(streams, fields{"tsid": s.TSID, "onid": s.ONID, "descriptors": loop(s.Descriptors)})
			say("transport stream %d of network %d%s", s.TSID, s.ONID, tags(s.Descriptors))
		}
		return fields{"network": t.NetworkID, "name": t.Name(), "streams": streams}, text, err
	}
	return nil, nil, nil
}

func compressed(t psi.Text) bool {
	for _, s := range t {
		if s.Compressed {
			return true
		}
	}
	return false
}

// loop lists descriptors as tag and hex.
func loop(d psi.Descriptors) []fields {
	all := []fields{}
	for tag, b := range d.All() {
		all = append(all, fields{"tag": tag, "hex": hex.EncodeToString(b)})
	}
	return all
}

// tags lists descriptor tags.
func tags(d psi.Descriptors) string {
	var s strings.Builder
	for tag := range d.All() {
		if s.Len() == 0 {
			s.WriteString("  descriptors")
		}
		fmt.Fprintf(&s, " %02x", tag)
	}
	return s.String()
}
