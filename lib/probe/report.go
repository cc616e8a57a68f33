package probe

import (
	"cmp"
	"math"
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/es"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// Report is all there is to say about a transport stream so far.
type Report struct {
	V        int         `json:"v"`
	Type     string      `json:"type"` // "report"
	Final    bool        `json:"final"`
	Format   string      `json:"format"` // "mpegts"
	Stride   int         `json:"stride"` // bytes from packet to packet: 188, 192 or 204
	Packets  int64       `json:"packets"`
	Bytes    int64       `json:"bytes"` // of packets, 188 each
	Null     int64       `json:"nullPackets"`
	Skipped  int64       `json:"skippedBytes"`                  // that were no packets
	Cut      int         `json:"truncatedBytes"`                // of an incomplete last packet
	Seconds  float64     `json:"seconds"`                       // by PCR
	Rate     int64       `json:"bitsPerSecond"`                 // by PCR, of all packets; 0: not known
	Recent   int64       `json:"recentBitsPerSecond,omitempty"` // since the report before, by wall time
	Constant bool        `json:"constantRate"`
	TSID     int         `json:"tsid"`           // −1: no PAT
	ONID     *int        `json:"onid,omitempty"` // original_network_id of the SDT
	Programs []Program   `json:"programs"`
	PIDs     []PID       `json:"pids"`
	PCR      []PCR       `json:"pcr"`
	Time     *Time       `json:"time"` // null: no time table
	Arrival  *Arrival    `json:"arrival,omitempty"`
	TR       Measurement `json:"tr101290"`
}

// Measurement groups the counters of TR 101 290.
type Measurement = catalog.TR101290

// Program is one program of the PAT.
type Program struct {
	Number   uint16   `json:"program"`
	Name     string   `json:"name,omitempty"`
	Provider string   `json:"provider,omitempty"`
	Channel  string   `json:"channel,omitempty"` // "5.1"
	PMTPID   ts.PID   `json:"pmtPid"`
	PMT      bool     `json:"pmt"` // its PMT was found
	Version  uint8    `json:"pmtVersion"`
	Changes  int      `json:"pmtChanges,omitempty"`
	PCRPID   ts.PID   `json:"pcrPid"`
	Streams  []Stream `json:"streams"`
}

// Stream is one elementary stream of a program.
type Stream struct {
	PID   ts.PID         `json:"pid"`
	Type  psi.StreamType `json:"streamType"`
	Codec es.Codec       `json:"codec"`
	Lang  string         `json:"lang,omitempty"`
	Rate  int64          `json:"bitsPerSecond,omitempty"`
}

// PID is what one PID carries.
type PID struct {
	PID       ts.PID  `json:"pid"`
	What      string  `json:"what"`
	Packets   int64   `json:"packets"`
	Rate      int64   `json:"bitsPerSecond"`
	Scrambled int64   `json:"scrambled,omitempty"`
	Gaps      int64   `json:"continuityErrors,omitempty"`
	Lost      int64   `json:"lostPackets,omitempty"` // at least
	Dups      int64   `json:"duplicates,omitempty"`
	Resets    int64   `json:"discontinuityIndicators,omitempty"`
	PTS       *uint64 `json:"lastPts,omitempty"`
}

// PCR is what was measured on one PCR PID.
type PCR struct {
	PID           ts.PID   `json:"pid"`
	Count         int64    `json:"count"`
	MeanMs        float64  `json:"meanMs"`
	MinMs         float64  `json:"minMs"`
	MaxMs         float64  `json:"maxMs"`
	Over40        int64    `json:"over40ms"` // more than TS 101 154 recommends
	Repetition    int64    `json:"repetitionErrors"`
	Discontinuity int64    `json:"discontinuityErrors"`
	Announced     int64    `json:"discontinuityIndicators"`
	Constant      bool     `json:"constantRate"`
	JitterNs      *float64 `json:"jitterNs"`     // mean deviation from constant rate; null where the rate varies
	WorstNs       *float64 `json:"jitterMaxNs"`  // the largest
	BadPCRs       *int64   `json:"accuracyErrs"` // of more than 500 ns
}

// Time is what the time tables said.
type Time struct {
	Tables      map[string]int64 `json:"tables"` // how many of each
	First       *time.Time       `json:"firstUtc"`
	Last        *time.Time       `json:"lastUtc"`
	JitterMs    float64          `json:"jitterMs"` // peak to peak, against the PCR
	Implausible int64            `json:"implausible,omitempty"`
}

// Arrival is how a live stream came in; absent for a file, which comes faster than it was made.
type Arrival struct {
	JitterMs float64 `json:"jitterMs"` // peak to peak, PCR against the time of arrival
}

// report collects the figures. stride and cut are the reader's.
func (a *analyzer) report(final bool, stride, cut int) *Report {
	r := &Report{
		V: 1, Type: "report", Final: final, Format: "mpegts", Stride: stride, Packets: a.packets, Bytes: a.packets * ts.PacketSize,
		Null: a.null, Skipped: a.skipped, Cut: cut, Seconds: seconds(a.base.elapsed), TSID: -1,
		Programs: []Program{}, PIDs: []PID{}, PCR: []PCR{},
	}
	if a.base.elapsed > 0 && a.base.counted > 0 {
		r.Rate = rate(a.base.counted, a.base.elapsed)
	}
	if a.pat {
		r.TSID = int(a.tsid)
	}
	if a.onid >= 0 {
		r.ONID = &a.onid
	}
	for _, p := range a.programs {
		if p.listed {
			r.Programs = append(r.Programs, a.program(p, r.Seconds))
		}
	}
	slices.SortFunc(r.Programs, func(x, y Program) int { return cmp.Compare(x.Number, y.Number) })
	r.TR = a.measured()
	a.fillPIDs(r)
	if len(a.time.tables) > 0 {
		t := &Time{Tables: a.time.tables, JitterMs: float64((a.time.high - a.time.low).Microseconds()) / 1000, Implausible: a.time.implausible}
		if !a.time.first.IsZero() {
			t.First, t.Last = &a.time.first, &a.time.last
		}
		r.Time = t
	}
	if took := a.arrived.Sub(a.start).Seconds(); a.delays > 0 && r.Seconds > 2 && took > 0.9*r.Seconds && took < 1.1*r.Seconds {
		r.Arrival = &Arrival{float64((a.maxDelay - a.minDelay).Microseconds()) / 1000}
	}
	return r
}

func (a *analyzer) fillPIDs(r *Report) {
	what := a.describe()
	for i := range a.pids {
		st := &a.pids[i]
		pid := ts.PID(i)
		if st.packets == 0 {
			continue
		}
		p := PID{PID: pid, What: what[pid], Packets: st.packets, Rate: a.rate(st.packets), Scrambled: st.scrambled, Gaps: st.gaps,
			Lost: st.lost, Dups: st.dups, Resets: st.resets}
		if st.hasPTS {
			v := uint64(st.lastPTS)
			p.PTS = &v
		}
		r.PIDs = append(r.PIDs, p)
		s := st.pcr
		if s == nil {
			continue
		}
		c := PCR{PID: pid, Count: s.count, MinMs: toMs(s.min), MaxMs: toMs(s.max), Over40: s.over40, Repetition: s.repetition,
			Discontinuity: s.discontinuity, Announced: s.announced, Constant: s.constant()}
		if s.intervals > 0 {
			c.MeanMs = toMs(s.sum / clock.Ticks27(s.intervals))
		}
		if c.Constant && s.measured > 0 {
			mean, worst := round(s.sumAbsErr/float64(s.measured), 1), round(s.worst, 1)
			n := s.errors
			c.JitterNs, c.WorstNs, c.BadPCRs = &mean, &worst, &n
		}
		if pid == a.base.pid {
			r.Constant = c.Constant
		}
		r.PCR = append(r.PCR, c)
	}
}

// measured returns the counters at this moment.
func (a *analyzer) measured() Measurement {
	m := Measurement{Priority1: a.p1, Priority2: a.p2}
	for i := range a.pids {
		if s := a.pids[i].pcr; s != nil && s.constant() && s.measured > 0 {
			if m.Priority2.PCRAccuracy == nil {
				m.Priority2.PCRAccuracy = new(int64)
			}
			*m.Priority2.PCRAccuracy += s.errors
		}
	}
	a.overdue(&m)
	return m
}

// overdue adds what is missing at this moment: tables that are due, and a CAT where there is scrambling.
func (a *analyzer) overdue(m *Measurement) {
	now := a.base.at(a.packets)
	pat := a.pids[ts.PIDPAT].sect
	if now-a.patAt > patLimit {
		m.Priority1.PAT++
	}
	if now-pat.at > patLimit {
		m.Priority1.PAT2++
	}
	for _, p := range a.programs {
		s := a.pids[p.pid].sect
		if p.listed && s != nil && now-s.at > pmtLimit {
			m.Priority1.PMT++
		}
	}
	if !a.cat {
		for i := range a.pids {
			if a.pids[i].scrambled > 0 {
				m.Priority2.CAT++ // 2.6: scrambled packets, and no CAT
				return
			}
		}
	}
}

func (a *analyzer) program(p *program, _ float64) Program {
	l := a.labels[p.number]
	out := Program{Number: p.number, Name: l.name, Provider: l.provider, Channel: l.channel, PMTPID: p.pid, PCRPID: ts.PIDNull, Streams: []Stream{}}
	if p.pmt == nil {
		return out
	}
	out.PMT, out.Version, out.Changes, out.PCRPID = true, p.pmt.Version, p.changes, p.pmt.PCRPID
	for _, s := range p.pmt.Streams {
		out.Streams = append(out.Streams, Stream{s.PID, s.Type, p.pmt.Codec(s), s.Descriptors.Language(), a.rate(a.pids[s.PID].packets)})
	}
	return out
}

// describe says what each known PID carries.
func (a *analyzer) describe() map[ts.PID]string {
	what := map[ts.PID]string{ts.PIDNull: "null", ts.PIDPAT: "PAT", ts.PIDCAT: "CAT", ts.PIDNIT: "NIT", ts.PIDSDT: "SDT",
		ts.PIDEIT: "EIT", ts.PIDTDT: "TDT/TOT", ts.PIDPSIP: "PSIP"}
	for i := range a.pids {
		if s := a.pids[i].sect; s != nil && what[ts.PID(i)] == "" {
			ids := make([]int, 0, len(s.tables))
			for id := range s.tables {
				ids = append(ids, int(id))
			}
			slices.Sort(ids)
			name := ""
			for _, id := range ids {
				if n := tableName(uint8(id)); name == "" {
					name = n
				} else {
					name += "/" + n
				}
			}
			what[ts.PID(i)] = name
		}
	}
	for _, p := range a.programs {
		if !p.listed {
			continue
		}
		what[p.pid] = "PMT"
		if p.pmt == nil {
			continue
		}
		if what[p.pmt.PCRPID] == "" {
			what[p.pmt.PCRPID] = "PCR"
		}
		for _, s := range p.pmt.Streams {
			what[s.PID] = p.pmt.Codec(s).String()
		}
	}
	return what
}

// rate is the bit rate of so many packets over the whole time; 0 when not known.
func (a *analyzer) rate(packets int64) int64 {
	if a.base.counted <= 0 || a.base.elapsed <= 0 || a.packets <= 0 {
		return 0
	}
	return int64(float64(rate(a.base.counted, a.base.elapsed)) * float64(packets) / float64(a.packets))
}

func rate(packets int64, t clock.Ticks27) int64 {
	return int64(math.Round(t.Rate(packets * ts.PacketSize * 8)))
}

func seconds(t clock.Ticks27) float64 { return round(t.Seconds(), 3) }
func toMs(t clock.Ticks27) float64    { return round(t.Milliseconds(), 3) }

func round(v float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(v*p) / p
}
