package es

// sei goes through the messages of an SEI NAL unit, H.264 §7.3.2.3.1.
type sei struct {
	part       uint8 // of the message: payloadType, payloadSize, payload
	kind, size int
}

// next takes a byte without emulation prevention, and reports whether it completes the head of a recovery point
// message: payloadType 6, H.264 §D.1.8.
func (s *sei) next(c byte) bool {
	switch s.part {
	case 0:
		s.kind += int(c)
		if c != 0xff {
			s.part = 1
		}
	case 1:
		s.size += int(c)
		if c == 0xff {
			break
		}
		if s.kind == 6 {
			return true
		}
		s.part, s.kind = 2, 0
		if s.size == 0 {
			s.part = 0
		}
	case 2:
		if s.size--; s.size == 0 {
			s.part = 0
		}
	}
	return false
}

// readH264 looks at a NAL unit, H.264 §7.3.1 and table 7-1. What begins an access unit is in §7.4.1.2.3; two slices
// of one picture are told apart by first_mb_in_slice, since no broadcast profile orders slices freely.
func readH264(f *Finder, b []byte, whole bool) int {
	switch kind := b[0] & 0x1f; kind {
	case 6: // SEI
		f.commence()
		return readSEI
	case 7: // sequence parameter set: profile_idc, constraint flags, level_idc
		f.commence()
		f.marks |= markSequence
		if f.nparams == 0 {
			if len(b) < 4 && !whole {
				return 4
			}
			if len(b) >= 4 && b[3] != 0 {
				f.name(b[1:4]...)
			}
		}
	case 9:
		f.delimit()
	case 8, 15, 16, 17, 18: // 14 stands before each slice of a stream with layers
		f.commence()
	case 5:
		if !f.open {
			if len(b) < 2 && !whole {
				return 2
			}
			if !firstSlice(b) {
				return f.within()
			}
		}
		return f.picture(true)
	case 1, 2: // 2: data partition A
		if len(b) < 2 && !whole {
			return 2
		}
		if !f.open && !firstSlice(b) {
			return f.within()
		}
		f.commence()
		return f.picture(f.flag && f.marks&markSequence != 0 && intraSlice(b))
	case 20: // of another view or layer, with a header of three bytes: §7.3.1, §G.7.3.1.1, §H.7.3.1.1
		if len(b) < 2 && !whole {
			return 2
		}
		if !f.open || len(b) < 2 {
			return readOn // the base view's slice has told what the access unit is, or will
		}
		idr := b[1]&0x40 != 0 // idr_flag
		if b[1]&0x80 == 0 {
			idr = !idr // non_idr_flag
		}
		return f.picture(idr)
	}
	return readOn
}

// firstSlice: first_mb_in_slice is 0, which ue(v) writes as one bit.
func firstSlice(b []byte) bool { return len(b) >= 2 && b[1]&0x80 != 0 }

// intraSlice: the slice is the first of its picture and slice_type is 2 (I) or 7 (all I).
func intraSlice(b []byte) bool {
	// first_mb_in_slice 1; slice_type ue(2) = 011, ue(7) = 0001000
	return len(b) >= 2 && (b[1]&0xf0 == 0xb0 || b[1] == 0x88)
}

// readHEVC looks at a NAL unit, H.265 §7.3.1.2 and table 7-1; what begins an access unit is in §7.4.2.4.4.
func readHEVC(f *Finder, b []byte, whole bool) int {
	if len(b) < 2 {
		return 2
	}
	if b[0]&1 != 0 || b[1]&0xf8 != 0 { // nuh_layer_id: an enhancement
		return readOn
	}
	switch kind := b[0] >> 1 & 0x3f; {
	case kind <= 9 || kind >= 16 && kind <= 23: // slices; others of up to 31 are reserved
		if !f.open {
			if len(b) < 3 && !whole {
				return 3
			}
			if len(b) < 3 || b[2]&0x80 == 0 { // first_slice_segment_in_pic_flag
				return f.within()
			}
		}
		return f.picture(kind >= 16) // IRAP
	case kind == 33:
		f.commence()
		if f.nparams == 0 {
			if len(b) < headSize && !whole {
				return headSize
			}
			// after the header and a byte of sps_video_parameter_set_id comes profile_tier_level, §7.3.3
			var ptl [paramSize]byte
			if n := unescape(ptl[:], b[2:], 1); n == len(ptl) {
				f.name(ptl[:]...)
			}
		}
	case kind == 35:
		f.delimit()
	case kind == 32, kind == 34, kind == 39, kind >= 41 && kind <= 44, kind >= 48 && kind <= 55:
		f.commence()
	}
	return readOn
}

// unescape copies b without emulation_prevention_three_byte and without its first skip bytes, as much as there is room for.
func unescape(to, b []byte, skip int) (n int) {
	zeros := 0
	for _, c := range b {
		if c == 3 && zeros >= 2 {
			zeros = 0
			continue
		}
		if zeros++; c != 0 {
			zeros = 0
		}
		if skip > 0 {
			skip--
			continue
		}
		if n == len(to) {
			break
		}
		to[n] = c
		n++
	}
	return n
}

// readVVC looks at a NAL unit, H.266 §7.3.1.2 and table 5; what begins a picture unit is in §7.4.2.4.
func readVVC(f *Finder, b []byte, whole bool) int {
	if len(b) < 2 {
		return 2
	}
	if b[0]&0x3f != 0 { // nuh_layer_id
		return readOn
	}
	switch kind := b[1] >> 3; {
	case kind <= 3 || kind >= 7 && kind <= 11:
		if !f.open {
			if len(b) < 3 && !whole {
				return 3
			}
			if len(b) < 3 || b[2]&0x80 == 0 { // sh_picture_header_in_slice_header_flag: the only slice of its picture
				return f.within()
			}
		}
		return f.picture(kind >= 7) // IRAP, and 10: GDR
	case kind == 15: // sequence parameter set
		f.commence()
		if f.nparams == 0 {
			if len(b) < 6 && !whole {
				return 6
			}
			if len(b) >= 6 && b[3]&1 != 0 { // sps_ptl_dpb_hrd_params_present_flag
				f.name(b[4:6]...)
			}
		}
	case kind == 20: // access unit delimiter
		f.delimit()
	case kind >= 12 && kind <= 17, kind == 19, kind == 23, kind == 26, kind == 28, kind == 29:
		f.commence()
	}
	return readOn
}
