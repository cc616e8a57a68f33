package es


// A verdict says whether an access unit is a random access point.
type verdict uint8

const (
	undecided verdict = iota // more of the access unit is needed
	isRAP
	notRAP
)

// codec is what the access-unit inspection needs to know of a stream_type.
type codec uint8

const (
	codecOther codec = iota // trust random_access_indicator
	codecMPEG2
	codecH264
	codecHEVC
	codecAudio // every PES is a random access point
)

// probeBytes bounds how much of an access unit is looked at. Headers that make a random access point
// stand at its start; four packets hold them with room for SEI messages.
const probeBytes = 4 * 184

// inspect decides from the first bytes of an access unit whether decoding can start there.
//
// The elementary stream overrules random_access_indicator where it can be read: real multiplexers set
// the flag on every frame. last says that no more bytes will come.
func inspect(c codec, es []byte, rai, last bool) verdict {
	var v verdict
	switch c {
	case codecAudio:
		return isRAP
	case codecMPEG2:
		v = inspectMPEG2(es)
	case codecH264:
		v = inspectH264(es)
	case codecHEVC:
		v = inspectHEVC(es)
	case codecOther:
		if rai {
			return isRAP
		}
		return notRAP
	}
	if v == undecided && (last || len(es) >= probeBytes) {
		if rai {
			return isRAP
		}
		return notRAP
	}
	return v
}

// nextStartCode returns the index just after the next 00 00 01 at or after i, or -1.
func nextStartCode(b []byte, i int) int {
	for ; i+3 <= len(b); i++ {
		if b[i] == 0 && b[i+1] == 0 && b[i+2] == 1 {
			return i + 3
		}
	}
	return -1
}

// inspectMPEG2: a sequence header followed by an I picture (H.262 §6.2.2, §6.2.3).
func inspectMPEG2(es []byte) verdict {
	sequence := false
	for i := nextStartCode(es, 0); i >= 0; i = nextStartCode(es, i) {
		if i >= len(es) {
			return undecided
		}
		switch es[i] {
		case 0xb3: // sequence_header_code
			sequence = true
		case 0x00: // picture_start_code
			if !sequence {
				return notRAP
			}
			if i+2 >= len(es) {
				return undecided
			}
			// temporal_reference is 10 bits, picture_coding_type the next 3
			if es[i+2]>>3&7 == 1 {
				return isRAP
			}
			return notRAP
		}
	}
	return undecided
}

// inspectH264: a sequence parameter set, an IDR slice or a recovery point SEI before the first other
// slice (H.264 §7.4.1.2.3, §D.1.8).
func inspectH264(es []byte) verdict {
	for i := nextStartCode(es, 0); i >= 0; i = nextStartCode(es, i) {
		if i >= len(es) {
			return undecided
		}
		switch es[i] & 0x1f {
		case 5, 7:
			return isRAP
		case 6:
			end := nextStartCode(es, i)
			if end < 0 {
				end = len(es) + 3
			}
			if seiRecovery(es[i+1 : min(end-3, len(es))]) {
				return isRAP
			}
		case 1, 2:
			return notRAP
		}
	}
	return undecided
}

// seiRecovery reports whether a SEI RBSP holds a recovery point message (payloadType 6).
func seiRecovery(b []byte) bool {
	for len(b) > 1 && b[0] != 0x80 {
		kind, size := 0, 0
		for len(b) > 0 && b[0] == 0xff {
			kind, b = kind+255, b[1:]
		}
		if len(b) == 0 {
			return false
		}
		kind, b = kind+int(b[0]), b[1:]
		for len(b) > 0 && b[0] == 0xff {
			size, b = size+255, b[1:]
		}
		if len(b) == 0 {
			return false
		}
		size, b = size+int(b[0]), b[1:]
		if kind == 6 {
			return true
		}
		if size > len(b) {
			return false
		}
		b = b[size:]
	}
	return false
}

// inspectHEVC: a parameter set or an IRAP slice before any other slice (H.265 §7.4.2.2).
func inspectHEVC(es []byte) verdict {
	for i := nextStartCode(es, 0); i >= 0; i = nextStartCode(es, i) {
		if i >= len(es) {
			return undecided
		}
		switch t := es[i] >> 1 & 0x3f; {
		case t >= 16 && t <= 23, t >= 32 && t <= 34:
			return isRAP
		case t < 16:
			return notRAP
		}
	}
	return undecided
}

// codecString is the RFC 6381 name of an H.264 or HEVC stream when its parameters stand in es.
func codecString(c codec, es []byte) string {
	if c != codecH264 {
		return ""
	}
	for i := nextStartCode(es, 0); i >= 0; i = nextStartCode(es, i) {
		if i+3 < len(es) && es[i]&0x1f == 7 {
			const hex = "0123456789abcdef"
			s := []byte("avc1.")
			for _, b := range es[i+1 : i+4] {
				s = append(s, hex[b>>4], hex[b&15])
			}
			return string(s)
		}
	}
	return ""
}
