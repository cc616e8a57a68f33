package sim

import (
	"bytes"
	"slices"

	"every.channel/ec/lib/clock"
)

// An access is an access unit of a pass: what a stream sends over and over.
type access struct {
	at      clock.Ticks // its DTS, from the start of the pass
	reorder clock.Ticks // PTS − DTS
	key     bool
	data    []byte
}

// passOf repeats a clip the way the habits ask for, and says how long a pass is.
func passOf(c *clip, h *Habits, pause Pause) (pass []access, length clock.Ticks) {
	for i, u := range c.units {
		pass = append(pass, access{clock.Ticks(i) * c.frame, u.reorder, u.key, u.data})
	}
	length = clock.Ticks(len(pass)) * c.frame
	if !c.audio() {
		if h.ParameterSets {
			repeatParameterSets(c.codec, pass)
		}
		if h.StuffFiller {
			fillUp(c.codec, pass)
		}
		if h.Still > 0 {
			pass = slices.DeleteFunc(pass, func(a access) bool { return !a.key })
			for i := range pass {
				pass[i].at, pass[i].reorder = clock.Ticks(i)*clock.TicksOf(h.Still), 0
			}
			length = clock.Ticks(len(pass)) * clock.TicksOf(h.Still)
		}
	}
	if pause.For > 0 {
		every, quiet := clock.TicksOf(pause.Every), clock.TicksOf(pause.For)
		once, n := slices.Clone(pass), int64(1)
		for int64(length)*n%int64(every) != 0 && n < 100 {
			n++
		}
		for i := int64(1); i < n; i++ {
			for _, a := range once {
				a.at += clock.Ticks(i) * length
				pass = append(pass, a)
			}
		}
		length *= clock.Ticks(n)
		pass = slices.DeleteFunc(pass, func(a access) bool { return a.at%every >= every-quiet })
	}
	return pass, length
}

// A pesPacket is one PES packet.
type pesPacket struct {
	at      clock.Ticks // when the first access unit with bytes in it is decoded
	begins  bool        // an access unit begins in it
	aligned bool        // at its first byte
	stamp   clock.Ticks // the DTS of the first that begins
	reorder clock.Ticks
	key     bool // a random access point begins in it
	data    []byte
}

// pesPackets puts access units into PES packets: units in each, or size bytes in each.
func pesPackets(pass []access, units, size int) (all []pesPacket) {
	if size == 0 {
		for group := range slices.Chunk(pass, max(units, 1)) {
			p := pesPacket{at: group[0].at, begins: true, aligned: true, stamp: group[0].at, reorder: group[0].reorder, data: group[0].data}
			for i, a := range group {
				p.key = p.key || a.key
				if i > 0 {
					p.data = slices.Concat(p.data, a.data)
				}
			}
			all = append(all, p)
		}
		return all
	}
	var p pesPacket
	for i, a := range pass {
		if len(p.data) > 0 && i > 0 && a.at-pass[i-1].at > clock.Hz {
			all, p = append(all, p), pesPacket{} // nothing waits for the end of a pause
		}
		for rest, first := a.data, true; len(rest) > 0; first = false {
			if len(p.data) == 0 {
				p.at = a.at
				p.aligned = first
			}
			if first && !p.begins {
				p.begins, p.stamp, p.reorder = true, a.at, a.reorder
			}
			p.key = p.key || first && a.key
			n := min(size-len(p.data), len(rest))
			p.data = append(p.data, rest[:n]...)
			if rest = rest[n:]; len(p.data) == size {
				all, p = append(all, p), pesPacket{}
			}
		}
	}
	if len(p.data) > 0 {
		all = append(all, p) // the last of a pass is shorter, so that each pass is the same
	}
	return all
}

// startCodes calls f with where each start code prefix begins, H.264 annex B and H.262 §5.2.1, and the byte after it.
func startCodes(b []byte, f func(at int, code byte)) {
	for at := 0; ; at += 3 {
		i := bytes.Index(b[at:], []byte{0, 0, 1})
		if i < 0 || at+i+3 >= len(b) {
			return
		}
		at += i
		f(at, b[at+3])
	}
}

// Types of NAL units, H.264 table 7-1, and start codes of H.262 table 6-1.
const (
	nalSPS, nalPPS, nalAUD, nalFiller = 7, 8, 9, 12

	startPicture, startSlice, startSequence, startGroup = 0x00, 0x01, 0xb3, 0xb8
)

// repeatParameterSets puts those of the last random access point into the access units after it.
func repeatParameterSets(codec string, pass []access) {
	var sets []byte
	for i := range pass {
		a := &pass[i]
		if codec == "h264" {
			var own []byte
			from, after := -1, -1 // of the set that is being read, after the delimiter
			startCodes(a.data, func(at int, code byte) {
				if at > 0 && a.data[at-1] == 0 {
					at-- // zero_byte
				}
				if from >= 0 {
					own = append(own, a.data[from:at]...)
				}
				if from = -1; code&0x1f == nalSPS || code&0x1f == nalPPS {
					from = at
				}
				if after < 0 && code&0x1f != nalAUD {
					after = at
				}
			})
			if len(own) > 0 {
				sets = own
				continue
			}
			after = max(after, 0)
			a.data = slices.Concat(a.data[:after], sets, a.data[after:])
			continue
		}
		// H.262: what comes before the group of pictures or the picture, with all extensions.
		sequence, end, kind := -1, -1, byte(0)
		startCodes(a.data, func(at int, code byte) {
			switch code {
			case startSequence:
				sequence = at
			case startGroup, startPicture:
				if end < 0 {
					end = at
				}
				if code == startPicture && at+5 < len(a.data) {
					kind = a.data[at+5] >> 3 & 7 // picture_coding_type, §6.2.3
				}
			}
		})
		if sequence >= 0 && end > sequence {
			sets = a.data[sequence:end]
		} else if kind == 2 { // P
			a.data = slices.Concat(sets, a.data)
		}
	}
}

// fillUp makes pictures that are smaller than the mean as long as it.
func fillUp(codec string, pass []access) {
	sum := 0
	for _, a := range pass {
		sum += len(a.data)
	}
	mean := sum / len(pass)
	for i := range pass {
		n := mean - len(pass[i].data)
		if n < 8 {
			continue
		}
		filler := make([]byte, n) // H.262: zero_byte of next_start_code
		if codec == "h264" {
			copy(filler, []byte{0, 0, 0, 1, nalFiller})
			for j := 5; j < n-1; j++ {
				filler[j] = 0xff
			}
			filler[n-1] = 0x80 // rbsp_trailing_bits
		}
		pass[i].data = slices.Concat(pass[i].data, filler)
	}
}
