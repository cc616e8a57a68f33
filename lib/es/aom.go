package es

// readAV1 looks at an open bitstream unit behind a start code, "Carriage of AV1 in MPEG-2 TS" §3.2 and AV1 §5.3.
func readAV1(f *Finder, b []byte, whole bool) int {
	if b[0]&0x80 != 0 { // obu_forbidden_bit
		return readOn
	}
	const longest = 1 + 1 + 8 + 1 // header, extension, leb128, and the first byte of the payload
	if len(b) < longest && !whole {
		return longest
	}
	payload := b[1:]
	if b[0]&0x04 != 0 && len(payload) > 0 { // obu_extension_flag
		payload = payload[1:]
	}
	if b[0]&0x02 != 0 { // obu_has_size_field
		for len(payload) > 0 && payload[0]&0x80 != 0 {
			payload = payload[1:]
		}
		if len(payload) > 0 {
			payload = payload[1:]
		}
	}
	switch b[0] >> 3 & 0x0f {
	case 1: // OBU_SEQUENCE_HEADER: seq_profile is 3 bits, then still_picture and reduced_still_picture_header
		f.commence()
		f.marks |= markSequence
		if len(payload) > 0 && payload[0]&0x08 != 0 {
			f.marks |= markStill
		}
	case 2: // OBU_TEMPORAL_DELIMITER
		f.delimit()
	case 3, 6: // OBU_FRAME_HEADER, OBU_FRAME: show_existing_frame, then frame_type in 2 bits, 0: KEY_FRAME
		f.commence()
		key := f.marks&markStill != 0 || len(payload) > 0 && payload[0]&0xe0 == 0
		return f.picture(key && f.marks&markSequence != 0)
	}
	return readOn
}

// readVP9 looks at the uncompressed header of the frame that a PES packet holds, VP9 §6.2. There is no specification of VP9 in
// a transport stream; this is how GStreamer's multiplexer does it.
func readVP9(f *Finder, b []byte, whole bool) int {
	if len(b) == 0 || b[0]>>6 != 2 || b[0]&0x30 == 0x30 { // frame_marker; profile 3 has one more bit
		f.decideByFlag()
		return readOn
	}
	f.verdict = NotRandomAccess
	if b[0]&0x0c == 0 { // show_existing_frame 0, frame_type 0: KEY_FRAME
		f.verdict = RandomAccess
	}
	return readOn
}
