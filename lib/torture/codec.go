package torture

import "math/rand/v2"

// bits writes a bit string, most significant bit first.
type bits struct {
	b []byte
	n uint // bits used of the last byte
}

func (w *bits) u(n uint, v uint32) {
	for i := int(n) - 1; i >= 0; i-- {
		if w.n == 0 {
			w.b = append(w.b, 0)
		}
		w.b[len(w.b)-1] |= byte(v>>uint(i)&1) << (7 - w.n)
		w.n = (w.n + 1) & 7
	}
}

// ue writes values as ue(v) of H.264 §9.1 and HEVC §9.2.
func (w *bits) ue(values ...uint32) {
	for _, v := range values {
		n := uint(0)
		for (v+1)>>(n+1) != 0 {
			n++
		}
		w.u(n, 0)
		w.u(n+1, v+1)
	}
}

// stop is rbsp_trailing_bits.
func (w *bits) stop() {
	w.u(1, 1)
	w.n = 0
}

// ones fills the last byte, as cabac_alignment_one_bit does.
func (w *bits) ones() {
	for w.n != 0 {
		w.u(1, 1)
	}
}

// nal appends a NAL unit with start code and emulation_prevention_three_byte.
func nal(dst []byte, long bool, head []byte, rbsp []byte) []byte {
	if long {
		dst = append(dst, 0)
	}
	dst = append(append(dst, 0, 0, 1), head...)
	zeros := 0
	for _, c := range rbsp {
		if zeros == 2 && c <= 3 {
			dst = append(dst, 3)
			zeros = 0
		}
		dst = append(dst, c)
		if zeros++; c != 0 {
			zeros = 0
		}
	}
	return dst
}

// noise appends n bytes, none of them 0, so that no start code is emulated.
func noise(dst []byte, r *rand.Rand, n int) []byte {
	for n > 0 {
		v := r.Uint64() | 0x0101010101010101
		for i := 0; i < 8 && n > 0; i, n = i+1, n-1 {
			dst = append(dst, byte(v>>(8*i)))
		}
	}
	return dst
}

// appendID appends eight bytes without 0 that name an access unit.
func appendID(dst []byte, id uint64) []byte {
	for i := 7; i >= 0; i-- {
		dst = append(dst, 0x80|byte(id>>(7*i))&0x7f)
	}
	return dst
}

// picture is what the syntax of an access unit depends on.
type picture struct {
	kind    byte // 'I', 'P' or 'B'
	rap     bool
	idr     bool // H.264 IDR, closed GOP
	refresh bool // recovery point of a gradual refresh
	leading bool // shown before the random access picture that it follows
	sets    bool // with parameter sets
	field   int  // 0 frame, 1 first field, 2 second
	number  int  // in decoding order, since the random access point
	order   int  // in display order, likewise
	size    int  // bytes of noise
	id      uint64
}

// mpeg2 appends a picture by ISO/IEC 13818-2 §6.2.
func mpeg2(b []byte, r *rand.Rand, p *picture) []byte {
	if p.sets {
		b = append(b, 0, 0, 1, 0xb3, 0x2d, 0x02, 0x40, 0x33, 0xff, 0xff, 0xe0, 0x18) // sequence_header, 720x576
		b = append(b, 0, 0, 1, 0xb5, 0x14, 0x82, 0x00, 0x01, 0x00, 0x00)             // sequence_extension
	}
	if p.rap {
		closed := uint32(0)
		if p.idr {
			closed = 1
		}
		var w bits
		w.u(12, 1<<6|2) // time_code 1:02:03:04, with marker_bit
		w.u(13, 1<<12|3<<6|4)
		w.u(7, closed<<6)
		b = append(append(b, 0, 0, 1, 0xb8), w.b...) // group_of_pictures_header
	}
	kind := map[byte]uint32{'I': 1, 'P': 2, 'B': 3}[p.kind]
	var w bits
	w.u(10, uint32(p.order)&0x3ff) // temporal_reference
	w.u(3, kind)
	w.u(16, 0xffff)
	if kind > 1 {
		w.u(4, 7)
	}
	if kind > 2 {
		w.u(4, 7)
	}
	w.u(1, 0)
	if w.n == 0 {
		w.u(1, 0)
	}
	b = append(append(b, 0, 0, 1, 0), w.b...)
	structure := uint32(3) // picture_structure
	if p.field != 0 {
		structure = uint32(p.field)
	}
	w = bits{}
	w.u(4, 8)
	w.u(16, 0xffff)
	w.u(2, 0)
	w.u(2, structure)
	w.u(10, 0x208)
	w.u(6, 0)
	b = append(append(b, 0, 0, 1, 0xb5), w.b...) // picture_coding_extension
	b = append(b, 0, 0, 1, 1, 0x2b)              // first slice
	return noise(appendID(b, p.id), r, p.size)
}

// h264 appends an access unit by H.264 §7.3.
func h264(b []byte, r *rand.Rand, p *picture, fields bool) []byte {
	b = nal(b, true, []byte{0x09}, []byte{map[byte]byte{'I': 0x10, 'P': 0x30, 'B': 0x50}[p.kind]})
	if p.sets {
		var w bits
		w.u(24, 77<<16|40)  // profile_idc, level_idc
		w.ue(0, 0, 0, 4, 2) // pic_order_cnt_type 0, log2_max_pic_order_cnt_lsb_minus4, max_num_ref_frames
		w.u(1, 0)
		w.ue(44) // pic_width_in_mbs_minus1
		if fields {
			w.ue(17)
			w.u(2, 0) // frame_mbs_only_flag, mb_adaptive_frame_field_flag
		} else {
			w.ue(35)
			w.u(1, 1)
		}
		w.u(3, 4) // direct_8x8_inference_flag
		w.stop()
		b = nal(b, true, []byte{0x67}, w.b)
		w = bits{}
		w.ue(0, 0)
		w.u(2, 0)
		w.ue(0, 0, 0)
		w.u(3, 0)
		w.ue(0, 0, 0)
		w.u(3, 4) // deblocking_filter_control_present_flag
		w.stop()
		b = nal(b, true, []byte{0x68}, w.b)
	}
	if p.rap && !p.idr {
		var w bits
		frames := uint32(0)
		if p.refresh {
			frames = 5
		}
		w.ue(frames) // recovery_frame_cnt
		w.u(4, 8)    // exact_match_flag
		w.stop()
		sei := append([]byte{6, byte(len(w.b))}, w.b...)
		b = nal(b, false, []byte{0x06}, append(sei, 0x80))
	}
	head := byte(0x41)
	switch {
	case p.idr:
		head = 0x65
	case p.kind == 'B':
		head = 0x01
	}
	var w bits
	w.ue(0, map[byte]uint32{'I': 7, 'P': 5, 'B': 6}[p.kind], 0)
	w.u(4, uint32(p.number)&15) // frame_num
	if fields {
		if p.field == 0 {
			w.u(1, 0)
		} else {
			w.u(2, 2|uint32(p.field-1))
		}
	}
	if p.idr {
		w.ue(uint32(p.id) & 1) // idr_pic_id
	}
	w.u(8, uint32(2*p.order)&255)
	w.ones()
	return noise(appendID(nal(b, false, []byte{head}, w.b), p.id), r, p.size)
}

// hevc appends an access unit by H.265 §7.3.
func hevc(b []byte, r *rand.Rand, p *picture) []byte {
	unit := func(kind byte) []byte { return []byte{kind << 1, 1} }
	b = nal(b, true, unit(35), []byte{map[byte]byte{'I': 0x10, 'P': 0x30, 'B': 0x50}[p.kind]})
	level := func(w *bits) { // profile_tier_level
		w.u(8, 1)
		w.u(32, 0x60000000)
		w.u(32, 0x90000000)
		w.u(24, 93)
	}
	if p.sets {
		var w bits
		w.u(16, 3<<10|1) // vps_base_layer_internal_flag and the next, vps_temporal_id_nesting_flag
		w.u(16, 0xffff)
		level(&w)
		w.u(1, 1)
		w.ue(4, 2, 0) // vps_max_dec_pic_buffering_minus1, vps_max_num_reorder_pics
		w.u(6, 0)
		w.ue(0)
		w.u(2, 0)
		w.stop()
		b = nal(b, true, unit(32), w.b)
		w = bits{}
		w.u(8, 1) // sps_temporal_id_nesting_flag
		level(&w)
		w.ue(0, 1, 1280, 720) // chroma_format_idc and size
		w.u(1, 0)
		w.ue(0, 0, 4) // log2_max_pic_order_cnt_lsb_minus4
		w.u(1, 1)
		w.ue(4, 2, 0, 0, 3, 0, 3, 0, 0) // as above; sizes of coding blocks and transforms
		w.u(4, 0)
		w.ue(0)
		w.u(5, 0)
		w.stop()
		b = nal(b, true, unit(33), w.b)
		w = bits{}
		w.ue(0, 0)
		w.u(7, 0)
		w.ue(0, 0, 0)
		w.u(3, 0)
		w.ue(0, 0)
		w.u(12, 0)
		w.ue(0)
		w.u(2, 0)
		w.stop()
		b = nal(b, true, unit(34), w.b)
	}
	kind := byte(1) // TRAIL_R
	switch {
	case p.idr && p.id&1 == 0:
		kind = 19 // IDR_W_RADL
	case p.idr:
		kind = 20 // IDR_N_LP
	case p.rap:
		kind = 21 // CRA_NUT
	case p.leading:
		kind = 8 // RASL_N
	case p.kind == 'B':
		kind = 0 // TRAIL_N
	}
	var w bits
	w.u(1, 1) // first_slice_segment_in_pic_flag
	if kind >= 16 {
		w.u(1, 0)
	}
	w.ue(0, map[byte]uint32{'I': 2, 'P': 1, 'B': 0}[p.kind])
	if kind < 19 || kind > 20 {
		w.u(8, uint32(p.order)&255)
	}
	w.ones()
	return noise(appendID(nal(b, false, unit(kind), w.b), p.id), r, p.size)
}

// audioFrame appends one frame and returns its length in 27 MHz ticks.
func audioFrame(b []byte, r *rand.Rand, codec int, id uint64) ([]byte, int64) {
	size, length := 0, int64(0)
	start := len(b)
	switch codec {
	case 0: // layer II, 64 kbit/s, 48 kHz, mono: ISO/IEC 11172-3 §2.4.1.3
		size, length = 192, 24*27000
		b = append(b, 0xff, 0xfd, 0x44, 0xc0)
	case 1: // AC-3, 64 kbit/s, 48 kHz: A/52 §5.3
		size, length = 256, 32*27000
		b = append(b, 0x0b, 0x77, 0x5a, 0x5a, 0x08, 0x40, 0x43, 0xe1)
	default: // ADTS, 48 kHz: ISO/IEC 13818-7 §6.2
		size, length = 100+r.IntN(80), 576000
		b = append(b, 0xff, 0xf1, 0x4c, 0x80|byte(size>>11), byte(size>>3), byte(size<<5)|0x1f, 0xfc)
	}
	b = appendID(b, id)
	return noise(b, r, size-(len(b)-start)), length
}
