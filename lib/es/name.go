package es

import (
	"fmt"
	"math/bits"
	"strings"
)

// Name is the stream's name by RFC 6381 where its parameters stood in what was fed before the decision, else "".
func (f *Finder) Name() string {
	if rfc := codecs[f.codec].rfc; rfc != "" {
		return rfc
	}
	if f.nparams == 0 {
		return ""
	}
	p := f.params[:f.nparams]
	switch f.codec {
	case H264:
		return fmt.Sprintf("avc1.%x", p)
	case HEVC:
		return hevcName(p)
	case VVC: // ISO/IEC 14496-15 annex E: general_profile_idc, general_tier_flag and general_level_idc
		return fmt.Sprintf("vvi1.%d.%c%d", p[0]>>1, "LH"[p[0]&1], p[1])
	case MPEG2Video: // object types of ISO/IEC 14496-1 table 5, by profile_and_level_indication: H.262 tables 8-2 and 8-4
		switch {
		case p[0]&0x80 != 0: // escape: 4:2:2
			return "mp4v.65"
		case p[0]>>4 >= 1 && p[0]>>4 <= 5:
			return "mp4v." + [...]string{"64", "63", "62", "61", "60"}[p[0]>>4-1]
		}
	case MPEG4Video:
		return fmt.Sprintf("mp4v.20.%d", p[0])
	case MP2:
		if p[0] == 1 {
			return "mp4a.6b"
		}
		return "mp4a.69"
	case AAC, AACLATM:
		return fmt.Sprintf("mp4a.40.%d", p[0])
	case MPEGH:
		return fmt.Sprintf("mhm1.0x%02X", p[0])
	}
	return ""
}

// hevcName writes profile_tier_level, H.265 §7.3.3, as ISO/IEC 14496-15 annex E says. Parameter sets are in the stream: hev1.
func hevcName(p []byte) string {
	if len(p) < 12 {
		return ""
	}
	var s strings.Builder
	s.WriteString("hev1.")
	if space := p[0] >> 6; space > 0 {
		s.WriteByte('A' + space - 1)
	}
	compatible := uint32(p[1])<<24 | uint32(p[2])<<16 | uint32(p[3])<<8 | uint32(p[4])
	fmt.Fprintf(&s, "%d.%X.%c%d", p[0]&0x1f, bits.Reverse32(compatible), "LH"[p[0]>>5&1], p[11])
	constraints := p[5:11]
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, c := range constraints {
		fmt.Fprintf(&s, ".%X", c)
	}
	return s.String()
}
