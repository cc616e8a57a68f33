package main

import (
	"bytes"
	"hash/fnv"

	"every.channel/ec/lib/es"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// A frame is a picture, or a PES packet where there are none: its bytes and the time stamp of the PES packet it begins in.
type frame struct {
	sum uint64
	pts uint64
}

const noPTS = 1 << 40 // no time stamp has so many bits

// framesOf lists what the first video PID of a program carries (0: of any), or its audio PID with the most packets.
func framesOf(b []byte, program uint16) []frame {
	kinds := map[ts.PID]es.Codec{}
	count := map[ts.PID]int{}
	var pat, pmt psi.Assembler
	pmts := map[ts.PID]bool{}
	for r := b; len(r) >= ts.PacketSize; r = r[ts.PacketSize:] {
		p := (*ts.Packet)(r)
		count[p.PID()]++
		switch {
		case p.PID() == ts.PIDPAT:
			pat.Feed(p, func(section []byte) {
				if t, err := psi.ParsePAT(section); err == nil {
					for _, program := range t.Programs {
						pmts[program.PID] = true
					}
				}
			})
		case pmts[p.PID()]:
			pmt.Feed(p, func(section []byte) {
				if t, err := psi.ParsePMT(section); err == nil && (program == 0 || t.Program == program) {
					for _, s := range t.Streams {
						kinds[s.PID] = s.Codec()
					}
				}
			})
		}
	}
	best, video := ts.PIDNull, false
	for pid, kind := range kinds {
		v := kind.Video()
		if (v || kind.Audio()) && (best == ts.PIDNull || v && !video || v == video && count[pid] > count[best]) {
			best, video = pid, v
		}
	}
	if best == ts.PIDNull {
		return nil
	}
	return frames(b, best, kinds[best])
}

// frames cuts an elementary stream into access units.
func frames(b []byte, pid ts.PID, codec es.Codec) (all []frame) {
	stream, pes := ts.Elementary(b, pid)
	var units []int // where access units begin
	switch codec {
	case es.H264, es.MPEG2Video:
		picture := true // the unit that has begun holds its picture already
		for at := 0; ; at += 3 {
			i := bytes.Index(stream[at:], []byte{0, 0, 1})
			if at += i; i < 0 || at+3 >= len(stream) {
				break
			}
			code := stream[at+3]
			begins, has := code == 0xb3 || code == 0xb8, code == 0 // of H.262: sequence, group of pictures; picture
			if codec == es.H264 {
				kind := code & 0x1f
				begins = kind >= 6 && kind <= 9                                                // SEI, parameter sets, delimiter
				has = (kind == 1 || kind == 5) && at+4 < len(stream) && stream[at+4]&0x80 != 0 // first_mb_in_slice 0
			}
			if picture && (begins || has) {
				units = append(units, at)
			}
			if begins || has {
				picture = has
			}
		}
	default:
		for _, s := range pes {
			units = append(units, s.At)
		}
	}
	k := 0
	for i, at := range units {
		end := len(stream)
		if i+1 < len(units) {
			end = units[i+1]
		}
		for k+1 < len(pes) && pes[k+1].At <= at {
			k++
		}
		h := fnv.New64a()
		h.Write(bytes.TrimRight(stream[at:end], "\x00")) // zero bytes before a start code are of neither
		f := frame{sum: h.Sum64(), pts: noPTS}
		if len(pes) > 0 && pes[k].HasPTS {
			f.pts = pes[k].PTS
		}
		all = append(all, f)
	}
	return all
}

// compare counts the frames that were got, of those broadcast from the first to the last of them, and such that were not broadcast.
// The last that was got may be cut, and does not count.
func compare(got, broadcast []frame) (have, of, foreign int) {
	where := map[frame][]int{}
	for i, f := range broadcast {
		where[f] = append(where[f], i)
	}
	seen := make([]bool, len(broadcast))
	first, last, next := len(broadcast), -1, 0
	for n, f := range got {
		best := -1
		for _, i := range where[f] { // of equal ones the next that is not taken
			if !seen[i] && (best < 0 || best < next && i >= next) {
				best = i
			}
		}
		if best < 0 {
			if n+1 < len(got) {
				foreign++
			}
			continue
		}
		seen[best], next = true, best+1
		first, last = min(first, best), max(last, best)
		have++
	}
	return have, max(last-first+1, 0), foreign
}
