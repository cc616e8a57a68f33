package probe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/ts"
)

// text prints a report for people.
func (a *analyzer) text(r *Report) {
	o := a.out
	how := "variable rate"
	if r.Constant {
		how = "constant rate"
	}
	o.printf("MPEG-TS, %d-byte packets: %d packets, %s", r.Stride, r.Packets, bytesText(r.Bytes))
	if r.Rate > 0 {
		o.printf(", %s, %s, %s", secondsText(r.Seconds), rateText(r.Rate), how)
	} else {
		o.printf(", no PCR to time it by")
	}
	if r.Null > 0 {
		o.printf(", %.1f %% null packets", 100*float64(r.Null)/float64(r.Packets))
	}
	o.printf("\n")
	if r.Skipped > 0 || r.Cut > 0 {
		o.printf("%d bytes were no packets, %d bytes of an incomplete last one\n", r.Skipped, r.Cut)
	}
	switch {
	case r.TSID < 0:
		o.printf("no PAT\n")
	case r.ONID != nil:
		o.printf("transport stream %d of network %d\n", r.TSID, *r.ONID)
	default:
		o.printf("transport stream %d\n", r.TSID)
	}
	a.timeText(r)
	for i := range r.Programs {
		a.programText(&r.Programs[i])
	}
	o.printf("\n%-7s %-16s %10s %12s %8s %7s %7s %7s %6s\n", "PID", "carries", "packets", "bit/s", "%", "cc-err", "lost", "scramb", "dup")
	for _, p := range r.PIDs {
		o.printf("0x%04x  %-16s %10d %12d %8.2f %7d %7d %7d %6d\n", p.PID, p.What, p.Packets, p.Rate, 100*float64(p.Packets)/float64(max(r.Packets, 1)),
			p.Gaps, p.Lost, p.Scrambled, p.Dups)
	}
	if len(r.PCR) > 0 {
		o.printf("\nPCR      count  interval ms: mean     min      max   >40 ms  >100 ms   jumps  jitter ns: mean      max  >500\n")
	}
	for _, p := range r.PCR {
		o.printf("0x%04x  %6d             %7.3f  %7.3f  %7.3f  %7d  %7d  %6d  ", p.PID, p.Count, p.MeanMs, p.MinMs, p.MaxMs, p.Over40, p.Repetition, p.Discontinuity)
		if p.JitterNs != nil {
			o.printf("         %7.1f  %7.1f  %4d\n", *p.JitterNs, *p.WorstNs, *p.BadPCRs)
		} else {
			o.printf("not measurable: the rate varies\n")
		}
	}
	if r.Arrival != nil {
		o.printf("arrival jitter %.1f ms peak to peak\n", r.Arrival.JitterMs)
	}
	a.trText(r)
}

// brief is one line, for a report on the way.
func (a *analyzer) brief(r *Report) {
	p1, p2 := r.TR.Priority1, r.TR.Priority2
	var scrambled int64
	for _, p := range r.PIDs {
		scrambled += p.Scrambled
	}
	utc := "no time table"
	if r.Time != nil && r.Time.Last != nil {
		utc = r.Time.Last.Format(time.DateTime) + " UTC"
	}
	a.out.printf("%s  %s  %s  %d packets  sync %d  continuity %d  transport %d  checksum %d  scrambled %d  PAT %d  PMT %d  PCR %d\n",
		secondsText(r.Seconds), rateText(r.Recent), utc, r.Packets, p1.SyncLoss, p1.Continuity, p2.Transport, p2.CRC, scrambled,
		p1.PAT2, p1.PMT, p2.PCRRepetition+p2.PCRDiscontinuity)
}

func (a *analyzer) timeText(r *Report) {
	t := r.Time
	if t == nil {
		a.out.printf("time: no STT, TDT or TOT\n")
		return
	}
	var counts []string
	for _, name := range slices.Sorted(maps.Keys(t.Tables)) {
		counts = append(counts, fmt.Sprintf("%d %s", t.Tables[name], name))
	}
	a.out.printf("time: %s", strings.Join(counts, ", "))
	if t.First != nil {
		a.out.printf(", UTC %s to %s, jitter %.0f ms", t.First.Format(time.DateTime), t.Last.Format(time.DateTime), t.JitterMs)
	}
	if t.Implausible > 0 {
		a.out.printf(", %d not plausible", t.Implausible)
	}
	a.out.printf("\n")
}

func (a *analyzer) programText(p *Program) {
	o := a.out
	o.printf("\nprogram %d", p.Number)
	if p.Channel != "" {
		o.printf("  %s", p.Channel)
	}
	if p.Name != "" {
		o.printf("  %q", p.Name)
	}
	if p.Provider != "" {
		o.printf(" of %q", p.Provider)
	}
	o.printf("  PMT 0x%04x", p.PMTPID)
	if !p.PMT {
		o.printf(" was not found\n")
		return
	}
	o.printf(" version %d", p.Version)
	if p.Changes > 0 {
		o.printf(" (changed %d times)", p.Changes)
	}
	if p.PCRPID == ts.PIDNull {
		o.printf(", no PCR\n")
	} else {
		o.printf(", PCR 0x%04x\n", p.PCRPID)
	}
	for _, s := range p.Streams {
		name := s.Type.String()
		if name == "" {
			name = "unknown"
		}
		o.printf("  0x%04x  %-10s type 0x%02x %-16s %-3s %12s\n", s.PID, s.Codec, uint8(s.Type), name, s.Lang, rateText(s.Rate))
	}
}

func (a *analyzer) trText(r *Report) {
	p1, p2 := r.TR.Priority1, r.TR.Priority2
	accuracy := "-"
	if p2.PCRAccuracy != nil {
		accuracy = fmt.Sprint(*p2.PCRAccuracy)
	}
	a.out.printf("\nTR 101 290\n")
	for _, l := range [][4]any{
		{"1.1  TS_sync_loss", p1.SyncLoss, "2.1  Transport_error", p2.Transport},
		{"1.2  Sync_byte_error", p1.SyncByte, "2.2  CRC_error", p2.CRC},
		{"1.3  PAT_error", p1.PAT, "2.3a PCR_repetition_error", p2.PCRRepetition},
		{"1.3a PAT_error_2", p1.PAT2, "2.3b PCR_discontinuity_indicator_error", p2.PCRDiscontinuity},
		{"1.4  Continuity_count_error", p1.Continuity, "2.4  PCR_accuracy_error", accuracy},
		{"1.5  PMT_error", p1.PMT, "2.5  PTS_error", p2.PTS},
		{"1.6  PID_error", p1.PID, "2.6  CAT_error", p2.CAT},
	} {
		a.out.printf("  %-28s %7v    %-40s %7v\n", l[0], l[1], l[2], l[3])
	}
}

func rateText(v int64) string {
	switch {
	case v >= 1_000_000:
		return fmt.Sprintf("%.3f Mbit/s", float64(v)/1e6)
	case v >= 1000:
		return fmt.Sprintf("%.1f kbit/s", float64(v)/1e3)
	}
	return fmt.Sprintf("%d bit/s", v)
}

func bytesText(v int64) string {
	switch {
	case v >= 1_000_000_000:
		return fmt.Sprintf("%.2f GB", float64(v)/1e9)
	case v >= 1_000_000:
		return fmt.Sprintf("%.1f MB", float64(v)/1e6)
	case v >= 1000:
		return fmt.Sprintf("%.1f kB", float64(v)/1e3)
	}
	return fmt.Sprintf("%d bytes", v)
}

func secondsText(v float64) string {
	return (time.Duration(v*1000) * time.Millisecond).String()
}
