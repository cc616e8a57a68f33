package es

// readMPEG2 looks at what a start code of MPEG-1 or MPEG-2 video begins, H.262 table 6-1.
func readMPEG2(f *Finder, b []byte, whole bool) int {
	switch code := b[0]; {
	case code == 0xb3: // sequence_header_code
		f.delimit()
		f.marks |= markSequence
	case code == 0xb5: // extension_start_code; 1: sequence extension, with profile_and_level_indication, §6.2.2.3
		if f.nparams == 0 {
			if len(b) < 3 && !whole {
				return 3
			}
			if len(b) >= 3 && b[1]>>4 == 1 {
				f.name(b[1]<<4 | b[2]>>4)
			}
		}
	case code == 0xb8: // group_start_code
		f.commence()
	case code == 0x00: // picture_start_code; temporal_reference is 10 bits, picture_coding_type the next 3
		if len(b) < 3 && !whole {
			return 3
		}
		f.commence()
		if len(b) >= 3 {
			return f.picture(f.marks&markSequence != 0 && b[2]>>3&7 == 1)
		}
	case code <= 0xaf: // slice
		if !f.open {
			return f.within()
		}
	}
	return readOn
}

// readMPEG4 looks at what a start code of MPEG-4 video begins, ISO/IEC 14496-2 table 6-3.
func readMPEG4(f *Finder, b []byte, whole bool) int {
	switch code := b[0]; {
	case code == 0xb0: // visual_object_sequence_start_code, then profile_and_level_indication
		f.delimit()
		f.marks |= markSequence
		if f.nparams == 0 {
			if len(b) < 2 && !whole {
				return 2
			}
			if len(b) >= 2 {
				f.name(b[1])
			}
		}
	case code >= 0x20 && code <= 0x2f: // video_object_layer_start_code
		f.commence()
		f.marks |= markSequence
	case code <= 0x1f, code == 0xb3, code == 0xb5: // video object, group of VOPs, visual object
		f.commence()
	case code == 0xb6: // vop_start_code; vop_coding_type 0: I
		if len(b) < 2 && !whole {
			return 2
		}
		f.commence()
		if len(b) >= 2 {
			return f.picture(f.marks&markSequence != 0 && b[1]>>6 == 0)
		}
	}
	return readOn
}

// readAVS looks at what a start code of AVS, AVS2 or AVS3 begins; they share these: GB/T 20090.2 table 1. Slices are not
// looked at, so that a stream with other bytes than its type says is cut by random_access_indicator.
func readAVS(f *Finder, b []byte, whole bool) int {
	switch b[0] {
	case 0xb0: // video_sequence_start_code
		f.delimit()
		f.marks |= markSequence
	case 0xb3: // i_picture_start_code, intra_picture_start_code
		f.commence()
		return f.picture(f.marks&markSequence != 0)
	case 0xb6: // pb_picture_start_code, inter_picture_start_code
		return f.picture(false)
	}
	return readOn
}

// readVC1 looks at a bitstream data unit of VC-1's advanced profile, SMPTE ST 421 annex E.
func readVC1(f *Finder, b []byte, whole bool) int {
	switch b[0] {
	case 0x0f: // sequence header
		f.delimit()
		f.marks |= markSequence
	case 0x0e: // entry point header: what is before is not needed after it
		f.commence()
		f.marks |= markEntry
	case 0x0d: // frame
		f.commence()
		return f.picture(f.marks&(markSequence|markEntry) == markSequence|markEntry)
	case 0x0b, 0x0c: // slice, field
		if !f.open {
			return f.within()
		}
	}
	return readOn
}

// readDirac looks at the parse info header that a PES packet begins with, SMPTE ST 2042-1 §10.5. An access unit begins with a
// sequence header.
func readDirac(f *Finder, b []byte, whole bool) int {
	const prefix = "BBCD"
	if len(b) <= len(prefix) {
		return len(prefix) + 1
	}
	switch code := b[4]; {
	case string(b[:4]) != prefix:
		f.decideByFlag()
	case code == 0x00:
		f.verdict = RandomAccess
	case code&0x08 != 0: // a picture
		f.verdict = NotRandomAccess
	default:
		f.decideByFlag()
	}
	return readOn
}
