package torture

import (
	"fmt"
	"slices"
	"testing"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// TestStreamsAreLegal holds the generator to H.222.0: what it sends must be what a broadcaster may send, or its
// judgement is worth nothing.
func TestStreamsAreLegal(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 20
	}
	look := func(spec Spec) {
		if !spec.Legal() {
			return
		}
		for _, fault := range faults(Generate(&spec)) {
			t.Errorf("%s: %s", fault, spec)
		}
	}
	for seed := range seeds {
		look(Random(seed))
	}
	for _, line := range found {
		spec, err := ParseSpec(line)
		if err != nil {
			t.Fatal(err)
		}
		look(spec)
	}
}

// faults lists where a stream is not legal, each kind once.
func faults(s *Stream) (list []string) {
	said := map[string]bool{}
	fault := func(what string) {
		if !said[what] {
			said[what] = true
			list = append(list, what)
		}
	}
	type state struct {
		seen, copied bool
		last         ts.Packet
	}
	pids := map[ts.PID]*state{}
	assemblers := map[ts.PID][]byte{}
	lastPCR, lastAt := int64(-1), int64(-1)
	lastPAT, lastPMT := int64(0), int64(0)
	lastPTS, lastVideo := int64(0), int32(0)
	h := &s.spec.H
	for i := range s.packets {
		p := &s.packets[i]
		d := &p.data
		pid := d.PID()
		if pid == ts.PIDNull {
			continue
		}
		if d[0] != ts.SyncByte || d.TransportError() || d[3]&0x30 == 0 {
			fault("a packet is malformed")
		}
		if d.HasAdaptation() && (int(d[4]) > 183 || !d.HasPayload() && d[4] != 183) {
			fault("adaptation_field_length") // §2.4.3.5
		}
		st := pids[pid]
		if st == nil {
			st = &state{}
			pids[pid] = st
		}
		cc, last := d.Continuity(), st.last.Continuity()
		switch {
		case !st.seen:
		case !d.HasPayload():
			if cc != last && !d.Discontinuity() {
				fault("the counter of a packet without payload moved") // §2.4.3.3
			}
		case p.copy:
			a, b := *d, st.last
			a.SetPCR(0)
			b.SetPCR(0)
			if a != b || st.copied {
				fault("a duplicate is no duplicate")
			}
		case cc != (last+1)&15 && !d.Discontinuity():
			fault("a counter jumps")
		}
		if st.seen && p.copy && !d.HasPayload() {
			fault("a packet without payload is copied")
		}
		st.seen, st.copied = true, p.copy
		st.last = *d
		if v, ok := d.PCR(); ok {
			if pid != s.states[s.at(int32(i))].pcrPID && p.kind != kindOther {
				fault("a PCR on another PID")
			}
			if lastAt >= 0 && p.at-lastAt > second/10+second/100 { // §2.7.2
				fault(fmt.Sprintf("PCRs are %d ms apart at %.2f s", (p.at-lastAt)*1000/second, float64(p.at)/second))
			}
			if lastAt >= 0 {
				off := mod(int64(v)-lastPCR-(p.at-lastAt)+wrap/2, wrap) - wrap/2
				if (off > second/1000 || off < -second/1000) && !d.Discontinuity() {
					fault("the clock jumps")
				}
			}
			lastPCR, lastAt = int64(v), p.at
		}
		if p.unit && h[hPMTChange] != 2 && !slices.Contains(s.states[s.at(int32(i))].listed, s.tracks[pid]) {
			fault("a packet on a PID that the PMT does not list")
		}
		switch p.kind {
		case kindPAT:
			if p.at-lastPAT > second*8/10 {
				fault("PATs are rare")
			}
			lastPAT = p.at
		case kindPMT:
			if p.at-lastPMT > second*8/10 {
				fault("PMTs are rare")
			}
			lastPMT = p.at
		}
		switch p.kind {
		case kindPAT, kindPMT, kindIdentity, kindTime, kindSI: // each table starts in a packet of its own
			body := d.Payload()
			if d.UnitStart() {
				body = body[1:]
				assemblers[pid] = nil
			}
			b := append(assemblers[pid], body...)
			assemblers[pid] = b
			if n := 3 + int(b[1]&15)<<8 + int(b[2]); n <= len(b) {
				if err := psi.Check(b[:n]); err != nil {
					fault("a section: " + err.Error())
				}
			}
		case kindVideo, kindAudio:
			if !d.UnitStart() {
				continue
			}
			pes, err := ts.ParsePES(d.Payload())
			if err != nil {
				fault("a PES header: " + err.Error())
			}
			if !pes.HasPTS || lastAt < 0 {
				continue
			}
			now := mod(lastPCR+p.at-lastAt, wrap)
			ahead := mod(int64(pes.DTS)*300-now+wrap/2, wrap) - wrap/2
			least := int64(0)
			if p.copy { // a moment later
				least = -second / 50
			}
			if ahead < least || ahead > second { // §2.4.2: a byte stays no longer than a second
				fault(fmt.Sprintf("PID %#x: decoding is %.3f s after arrival at %.3f s", pid, float64(ahead)/second, float64(p.at)/second))
			}
			if p.kind == kindVideo && !p.copy {
				if lastPTS != 0 && p.at-lastPTS > second*7/10 && h[hFPS] < 5 && s.at(lastVideo) == s.at(int32(i)) { // §2.7.4
					fault("time stamps are rare")
				}
				lastPTS, lastVideo = p.at, int32(i)
			}
		}
	}
	pictures := 0
	for _, t := range s.order {
		if t.kind == kindVideo {
			pictures += len(t.aus)
		}
		for k := 1; k < len(t.aus); k++ {
			if t.aus[k].decoded <= t.aus[k-1].decoded { // §2.4.3.7
				fault("an access unit is not decoded after the one before")
			}
		}
		for k, at := range t.units {
			end := len(t.bytes)
			if k+1 < len(t.units) {
				end = t.units[k+1]
			}
			b := t.bytes[at:end]
			if t.kind == kindSparse && b[0] == 0 && b[1] != 0 { // a section
				continue
			}
			if n := int(b[4])<<8 + int(b[5]); n != 0 && n+6 != len(b) && k+1 < len(t.units) {
				fault("PES_packet_length")
			}
		}
	}
	if h[hCodec] != 3 && h[hStreams] != videoLeaves && pictures < 4 {
		fault("no video")
	}
	return list
}
