package es

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// find feeds b in pieces of n bytes, 0: at once, and ends.
func find(c Codec, flag bool, b []byte, n int) *Finder {
	f := new(Finder)
	f.Begin(c, flag)
	for len(b) > 0 {
		m := len(b)
		if n > 0 {
			m = min(m, n)
		}
		f.Feed(b[:m])
		b = b[m:]
	}
	f.End()
	return f
}

// Units of the codecs, each with its start code.
const (
	// H.264, NAL units as a 4:2:0 High profile encoder writes them
	aud    = "00000001 09f0 "
	sps    = "00000001 67640028acd9 "
	pps    = "000001 68ebe3cb22c0 "
	idr    = "000001 6588840400 "
	idr2   = "000001 6542840400 " // of the same picture: first_mb_in_slice is not 0
	pSlice = "000001 419a0200 "
	bSlice = "000001 019e0200 "
	iSlice = "000001 41888400 " // slice_type 7
	i2     = "000001 41b08400 " // slice_type 2
	second = "000001 41420200 " // first_mb_in_slice is not 0
	point  = "000001 060601c480 "
	timing = "000001 0601020000 80 "
	filler = "000001 0cffffff80 "
	eoseq  = "000001 0a "
	tail   = "9a7b 00 0003 01 6d55 " // the rest of a slice, with emulation prevention

	// MPEG-2
	m2seq = "000001b3 140f0013ffff e018 "
	m2ext = "000001b5 148200010000 "
	m2gop = "000001b8 00080040 "
	m2I   = "00000100 000ffff8 "
	m2P   = "00000100 00d7fff8 "
	m2sl  = "00000101 2b38 "

	// HEVC
	haud   = "00000001 460150 "
	hvps   = "000001 40010c01ffff "
	hsps   = "000001 420101 0160000003009000000300000300 5d a00280802d "
	hpps   = "000001 4401c172b46240 "
	hsei   = "000001 4e010506 8000 "
	hidr   = "000001 2801af78 "
	hcra   = "000001 2a01ac00 "
	htrail = "000001 0201d000 "
	hrasl  = "000001 1001d000 "
	hsecnd = "000001 02015000 " // first_slice_segment_in_pic_flag 0
	hlayer = "000001 0209d000 " // nuh_layer_id 1

	// VVC
	vaud   = "00000001 00a128 "
	vsps   = "000001 0079 000102538000 "
	vph    = "000001 0099 e000 "
	vidr   = "000001 0041 4000 "
	vidr1  = "000001 0041 c000 " // sh_picture_header_in_slice_header_flag
	vcra   = "000001 0049 4000 "
	vgdr   = "000001 0051 4000 "
	vtrail = "000001 0001 4000 "
	vtr1   = "000001 0001 c000 "
)

var verdicts = []struct {
	name  string
	codec Codec
	flag  bool
	es    string
	want  Verdict
}{
	{"MPEG-2: sequence header and I picture", MPEG2Video, false, m2seq + m2ext + m2gop + m2I, RandomAccess},
	{"MPEG-2: sequence header and P picture", MPEG2Video, true, m2seq + m2ext + m2P, NotRandomAccess},
	{"MPEG-2: I picture without sequence header", MPEG2Video, true, m2gop + m2I, NotRandomAccess},
	{"MPEG-2: field pair, I then P", MPEG2Video, false, m2seq + m2I + m2sl + m2P + m2sl, RandomAccess},
	{"MPEG-2: field pair, P then I", MPEG2Video, true, m2P + m2sl + m2I + m2sl, NotRandomAccess},
	{"MPEG-2: sequence of the picture before does not count", MPEG2Video, true, m2sl + m2seq + m2P + m2I, NotRandomAccess},
	{"MPEG-2: in the middle of a picture, then an I picture", MPEG2Video, false, m2sl + m2sl + m2seq + m2gop + m2I, RandomAccess},
	{"MPEG-2: aligned, the first picture decides", MPEG2Video, true, m2P + m2sl + m2seq + m2I, NotRandomAccess},
	{"MPEG-2: nothing but slices", MPEG2Video, true, m2sl + m2sl, NotRandomAccess},
	{"MPEG-2: headers only, flagged", MPEG2Video, true, m2seq + m2ext, RandomAccess},
	{"MPEG-2: headers only", MPEG2Video, false, m2seq + m2ext, NotRandomAccess},
	{"MPEG-2: picture header cut, flagged", MPEG2Video, true, m2seq + "0000010000", RandomAccess},
	{"MPEG-1: sequence header and I picture", MPEG1Video, false, m2seq + m2gop + m2I, RandomAccess},

	{"MPEG-4: VOS, VOL, I VOP", MPEG4Video, false, "000001b001 000001b509 00000100 0000012000c8 000001b31000 000001b61000", RandomAccess},
	{"MPEG-4: VOL, P VOP", MPEG4Video, true, "0000012000c8 000001b65000", NotRandomAccess},
	{"MPEG-4: I VOP alone", MPEG4Video, true, "000001b61000", NotRandomAccess},

	{"H.264: IDR", H264, false, aud + sps + pps + idr, RandomAccess},
	{"H.264: IDR without parameter sets", H264, false, aud + idr, RandomAccess},
	{"H.264: parameter sets and P", H264, true, aud + sps + pps + pSlice, NotRandomAccess},
	{"H.264: parameter sets and B", H264, true, aud + sps + pps + bSlice, NotRandomAccess},
	{"H.264: flagged P", H264, true, aud + pSlice, NotRandomAccess},
	{"H.264: recovery point", H264, false, aud + point + pSlice, RandomAccess},
	{"H.264: timing, then recovery point, in one SEI", H264, false, aud + "000001 06010200000601c480" + pSlice, RandomAccess},
	{"H.264: timing, then recovery point, in two", H264, false, aud + timing + point + iSlice, RandomAccess},
	{"H.264: timing only", H264, true, aud + timing + pSlice, NotRandomAccess},
	{"H.264: recovery point behind a payload of 300 bytes", H264, false, aud + "000001 06 04ff2d" + strings.Repeat("55", 300) + "0601c480" + pSlice, RandomAccess},
	{"H.264: a payload that looks like one", H264, true, aud + "000001 06 0404 0601c480 80" + pSlice, NotRandomAccess},
	{"H.264: recovery point behind emulation prevention", H264, false, aud + "000001 06 0104 00000300 01 0601c480" + pSlice, RandomAccess},
	{"H.264: recovery point after the slice is of the next access unit", H264, true, aud + pSlice + point, NotRandomAccess},
	{"H.264: SPS, I slice, flagged", H264, true, aud + sps + pps + iSlice, RandomAccess},
	{"H.264: SPS, I slice of type 2, flagged", H264, true, aud + sps + pps + i2, RandomAccess},
	{"H.264: SPS, I slice, not flagged", H264, false, aud + sps + pps + iSlice, NotRandomAccess},
	{"H.264: I slice, flagged, no SPS", H264, true, aud + iSlice, NotRandomAccess},
	{"H.264: aligned, the first access unit decides", H264, false, aud + pSlice + aud + sps + idr, NotRandomAccess},
	{"H.264: middle of a slice, then IDR", H264, false, tail + aud + pSlice + aud + sps + pps + idr, RandomAccess},
	{"H.264: middle of a slice, then P", H264, true, tail + aud + pSlice + aud + bSlice, NotRandomAccess},
	{"H.264: middle of an IDR picture", H264, true, idr2 + idr2 + aud + pSlice, NotRandomAccess},
	{"H.264: another slice of a picture, then IDR", H264, false, second + aud + idr, RandomAccess},
	{"H.264: filler of the access unit before, then IDR", H264, false, filler + eoseq + aud + sps + idr, RandomAccess},
	{"H.264: without delimiters, IDR deep inside", H264, false, tail + pSlice + second + idr + idr2, RandomAccess},
	{"H.264: leading zeros are no misalignment", H264, true, "0000000000000000" + aud + pSlice + aud + idr, NotRandomAccess},
	{"H.264: nothing but the middle of a slice, flagged", H264, true, tail, RandomAccess},
	{"H.264: nothing but the middle of a slice", H264, false, tail, NotRandomAccess},
	{"H.264: it ends before the slice, flagged", H264, true, aud + sps + pps, RandomAccess},
	{"H.264: it ends before the slice", H264, false, aud + sps + pps, NotRandomAccess},
	{"H.264: a P, then it ends before the slice, flagged", H264, true, tail + aud + pSlice + aud + sps, RandomAccess},
	{"H.264: empty, flagged", H264, true, "", RandomAccess},
	{"H.264: a start code at the very end", H264, false, tail + aud + pSlice + "000001", NotRandomAccess},
	{"H.264: MVC, anchor", H264, false, "000001 6f 4d001f " + "000001 74 00 0000 88", RandomAccess},
	{"H.264: MVC, other", H264, true, "000001 6f 4d001f " + "000001 74 40 0000 88", NotRandomAccess},

	{"HEVC: IDR", HEVC, false, haud + hvps + hsps + hpps + hsei + hidr, RandomAccess},
	{"HEVC: CRA", HEVC, false, haud + hcra, RandomAccess},
	{"HEVC: reserved IRAP", HEVC, false, haud + "000001 2e01af78", RandomAccess},
	{"HEVC: parameter sets and a trailing picture", HEVC, true, haud + hvps + hsps + hpps + htrail, NotRandomAccess},
	{"HEVC: leading picture", HEVC, true, haud + hrasl, NotRandomAccess},
	{"HEVC: middle of a picture, then IDR", HEVC, false, hsecnd + hsecnd + haud + hvps + hidr, RandomAccess},
	{"HEVC: middle of a picture, then none", HEVC, true, hsecnd + haud + htrail + haud + hrasl, NotRandomAccess},
	{"HEVC: an enhancement is not looked at", HEVC, false, haud + hlayer + hidr, RandomAccess},
	{"HEVC: nothing but an enhancement, flagged", HEVC, true, hlayer + hlayer, RandomAccess},

	{"VVC: IDR behind a picture header", VVC, false, vaud + vsps + vph + vidr, RandomAccess},
	{"VVC: IDR with the picture header in it", VVC, false, vaud + vsps + vidr1, RandomAccess},
	{"VVC: CRA", VVC, false, vaud + vph + vcra, RandomAccess},
	{"VVC: GDR", VVC, false, vaud + vph + vgdr, RandomAccess},
	{"VVC: trailing picture, flagged", VVC, true, vaud + vsps + vph + vtrail, NotRandomAccess},
	{"VVC: middle of an IDR picture", VVC, true, vidr + vidr + vaud + vtr1, NotRandomAccess},
	{"VVC: middle of a picture, then IDR", VVC, false, vtrail + vaud + vph + vidr, RandomAccess},

	{"VC-1: sequence header and entry point", VC1, false, "0000010fca 0000010e58 0000010d1f", RandomAccess},
	{"VC-1: sequence header alone", VC1, true, "0000010fca 0000010d1f", NotRandomAccess},
	{"VC-1: frame", VC1, true, "0000010d1f", NotRandomAccess},
	{"AVS: sequence header and I picture", AVS, false, "000001b020 000001b5 000001b3ff 0000010012", RandomAccess},
	{"AVS2: sequence header and P picture", AVS2, true, "000001b020 000001b6ff", NotRandomAccess},
	{"AVS3: I picture alone", AVS3, true, "000001b3ff", NotRandomAccess},
	{"AVS3: other bytes, flagged", AVS3, true, aud + sps + pSlice, RandomAccess},
	{"AVS3: other bytes", AVS3, false, aud + sps + idr, NotRandomAccess},
	{"Dirac: sequence header", Dirac, false, "42424344 00 0000001100000000", RandomAccess},
	{"Dirac: picture", Dirac, true, "42424344 09 0000001100000000", NotRandomAccess},
	{"Dirac: end of sequence, flagged", Dirac, true, "42424344 10 0000000d00000000", RandomAccess},
	{"Dirac: not aligned, flagged", Dirac, true, "00424243440900", RandomAccess},
	{"Dirac: cut", Dirac, false, "424243", NotRandomAccess},
	{"AV1: sequence header and key frame", AV1, false, "0000011200 0000010a0b0000002e 000001320810000000", RandomAccess},
	{"AV1: sequence header and inter frame", AV1, true, "0000011200 0000010a0b0000002e 000001320830000000", NotRandomAccess},
	{"AV1: key frame alone", AV1, true, "0000011200 000001320810000000", NotRandomAccess},
	{"AV1: without start codes, flagged", AV1, true, "12000a0b0000002e3208", RandomAccess},
	{"VP9: key frame", VP9, false, "8249834200", RandomAccess},
	{"VP9: inter frame", VP9, true, "8600400000", NotRandomAccess},
	{"JPEG 2000", JPEG2000, false, "656c736d", RandomAccess},
	{"JPEG XS", JPEGXS, false, "6a786573", RandomAccess},
	{"EVC, flagged", EVC, true, "00000005", RandomAccess},
	{"LCEVC", LCEVC, false, "00000005", NotRandomAccess},

	{"MPEG audio", MP2, false, "fffd8404", RandomAccess},
	{"AAC", AAC, false, "fff15080", RandomAccess},
	{"AAC, not aligned", AAC, false, "21", RandomAccess},
	{"AAC, empty", AAC, false, "", RandomAccess},
	{"AAC in LOAS", AACLATM, false, "56e0ff2000", RandomAccess},
	{"AC-3", AC3, false, "0b77", RandomAccess},
	{"MPEG-H: sync and configuration", MPEGH, false, "c001a5 2010 0b 00", RandomAccess},
	{"MPEG-H: sync and frame, flagged", MPEGH, true, "c001a5 4400 0000", NotRandomAccess},
	{"MPEG-H: frame, flagged", MPEGH, true, "44001020", RandomAccess},
	{"MPEG-H: frame", MPEGH, false, "44001020", NotRandomAccess},
	{"teletext, flagged", Teletext, true, "10", RandomAccess},
	{"unknown", Unknown, false, "10", NotRandomAccess},
	{"no such codec", Codec(250), false, "10", NotRandomAccess},
}

// A PES packet is judged alike however it is fed: at once, byte by byte, or cut anywhere.
func TestVerdicts(t *testing.T) {
	for _, c := range verdicts {
		es := unhex(t, c.es)
		whole := find(c.codec, c.flag, es, 0)
		if whole.verdict != c.want {
			t.Errorf("%s: %s, want %s", c.name, whole.verdict, c.want)
		}
		for n := 1; n < len(es); n++ {
			if f := find(c.codec, c.flag, es, n); f.verdict != whole.verdict || f.Name() != whole.Name() {
				t.Errorf("%s: in pieces of %d: %s %q; whole: %s %q", c.name, n, f.verdict, f.Name(), whole.verdict, whole.Name())
			}
		}
	}
}

// Every codec is tried above or takes every packet; none is without a name or twice in the table.
func TestTable(t *testing.T) {
	tried := map[Codec]bool{}
	for _, c := range verdicts {
		tried[c.codec] = true
	}
	names := map[string]bool{}
	for c := range numCodecs {
		e := codecs[c]
		if e.name == "" || names[e.name] {
			t.Errorf("codec %d: name %q", c, e.name)
		}
		names[e.name] = true
		if (e.read == nil) != (e.how == byFlag || e.how == byPacket) {
			t.Errorf("%s: a reader is missing or never called", c)
		}
		if e.read != nil && !tried[c] {
			t.Errorf("%s: no verdict is tested", c)
		}
		if c.Video() != (e.role == RoleVideo) || c.Audio() != (e.role == RoleAudio) || e.role.Steady() != (c.Video() || c.Audio()) {
			t.Errorf("%s: role %s", c, e.role)
		}
		if b, err := c.MarshalText(); err != nil || Named(string(b)) != c {
			t.Errorf("%s: written as %q, which is %s", c, b, Named(string(b)))
		}
	}
	if Named("what comes later") != Unknown || Codec(250).String() != "unknown" || Role(9).String() != "unknown" {
		t.Error("what is not in the table has no name")
	}
}

func TestName(t *testing.T) {
	for _, c := range []struct {
		name  string
		codec Codec
		es    string
		want  string
	}{
		{"H.264", H264, aud + sps + pps + idr, "avc1.640028"},
		{"H.264, by the first SPS", H264, aud + "000001 6742c01e" + sps + idr, "avc1.42c01e"},
		{"H.264, deep inside", H264, tail + aud + pSlice + aud + sps + idr, "avc1.640028"},
		{"H.264, SPS cut", H264, aud + "000001 6764 " + idr, ""},
		{"H.264, SPS after the decision", H264, aud + idr + sps, ""},
		{"HEVC, Main, level 3.1", HEVC, haud + "000001 420101 0160000003009000000300000300 5d a0028080" + hidr, "hev1.1.6.L93.90"},
		{"HEVC, Main 10 high tier, level 5.1", HEVC, haud + "000001 420101 2220000003009000000300000300 99 a0028080" + hidr, "hev1.2.4.H153.90"},
		{"VVC, Main 10, level 3.1", VVC, vaud + vsps + vidr1, "vvi1.1.L83"},
		{"MPEG-2, Main profile", MPEG2Video, m2seq + m2ext + m2I, "mp4v.61"},
		{"MPEG-2, High profile", MPEG2Video, m2seq + "000001b5 11440001" + m2I, "mp4v.64"},
		{"MPEG-2, 4:2:2 profile", MPEG2Video, m2seq + "000001b5 18520001" + m2I, "mp4v.65"},
		{"MPEG-2 without extension", MPEG2Video, m2seq + m2I, ""},
		{"MPEG-1", MPEG1Video, m2seq + m2I, "mp4v.6a"},
		{"MPEG-4", MPEG4Video, "000001b0f5 0000012000 000001b61000", "mp4v.20.245"},
		{"AAC LC in ADTS", AAC, "fff15080", "mp4a.40.2"},
		{"AAC LC in LOAS", AACLATM, "56e0ff 20 00 11 90", "mp4a.40.2"},
		{"HE-AAC in LOAS", AACLATM, "56e0ff 20 00 2b 11", "mp4a.40.5"},
		{"LOAS that goes on with the configuration before", AACLATM, "56e0ff a0 00 11 90", ""},
		{"MPEG-1 layer II", MP2, "fffd8404", "mp4a.6b"},
		{"MPEG-2 layer II", MP2, "fff58404", "mp4a.69"},
		{"AC-3", AC3, "0b77", "ac-3"},
		{"E-AC-3", EAC3, "0b77", "ec-3"},
		{"MPEG-H, Low Complexity level 3", MPEGH, "c001a5 2010 0d", "mhm1.0x0D"},
		{"AC-4", AC4, "ac40", ""},
	} {
		if got := find(c.codec, false, unhex(t, c.es), 0).Name(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Begin forgets everything, End decides, and nothing changes a decision.
func TestFinderAgain(t *testing.T) {
	var f Finder
	f.Begin(H264, false)
	if v := f.Feed(unhex(t, aud+sps)); v != Undecided {
		t.Errorf("before the slice: %s", v)
	}
	if v := f.Feed(unhex(t, idr)); v != RandomAccess {
		t.Errorf("IDR: %s", v)
	}
	if v := f.Feed(unhex(t, aud+pSlice)); v != RandomAccess || f.End() != RandomAccess || f.Name() != "avc1.640028" {
		t.Errorf("after the decision: %s %q", v, f.Name())
	}
	f.Begin(H264, false)
	if f.End() != NotRandomAccess || f.Name() != "" {
		t.Error("the packet before is remembered")
	}
	if v := f.Feed(unhex(t, aud+idr)); v != NotRandomAccess {
		t.Errorf("after the end: %s", v)
	}
	f.Begin(H264, false)
	f.Several()
	if v := f.Feed(unhex(t, aud+pSlice)); v != Undecided {
		t.Errorf("the first of several: %s", v)
	}
	if v := f.Feed(unhex(t, aud+idr)); v != RandomAccess {
		t.Errorf("the second of several: %s", v)
	}
	var zero Finder
	if zero.Feed([]byte{0}) != NotRandomAccess || zero.Name() != "" {
		t.Error("the zero value without Begin")
	}
}

// Where PES packets are cut anywhere, an access unit may go on in the next: the end of one says so, whatever was found in it before.
func TestTorn(t *testing.T) {
	for _, c := range []struct {
		name        string
		codec       Codec
		es          string
		want        Verdict
		torn, split bool
	}{
		{"a whole access unit", H264, aud + sps + pps + idr + "9a", RandomAccess, false, false},
		{"another begins", H264, aud + pSlice + aud + sps, NotRandomAccess, true, false},
		{"another begins behind a random access point", H264, aud + sps + pps + point + pSlice + aud + sps, RandomAccess, true, false},
		{"its start code is cut", H264, aud + sps + pps + idr + "9a0000", RandomAccess, false, true},
		{"the head of its first unit is cut", HEVC, haud + hpps + hidr + "00000146", RandomAccess, false, true},
		{"the head of a parameter set is cut", HEVC, haud + htrail + haud + "000001420101", NotRandomAccess, true, true},
		{"MPEG-2: a sequence header behind a picture", MPEG2Video, m2seq + m2ext + m2gop + m2I + m2sl + m2seq, RandomAccess, true, false},
		{"its picture header is cut", MPEG2Video, m2P + m2sl + "00000100 00", NotRandomAccess, true, true},
		{"a codec that is cut by packets", MP2, "fffd", RandomAccess, false, false},
	} {
		es := unhex(t, c.es)
		for n := range 4 {
			var f Finder
			f.Begin(c.codec, false)
			f.Several()
			for b := es; len(b) > 0; b = b[min(max(n, 1), len(b)):] {
				if n == 0 {
					n = len(b)
				}
				f.Feed(b[:min(n, len(b))])
			}
			if v := f.End(); v != c.want || f.Torn() != c.torn || f.Split() != c.split {
				t.Errorf("%s, in pieces of %d: %s, torn %v, split %v", c.name, n, v, f.Torn(), f.Split())
			}
		}
		if f := find(c.codec, false, es, 0); f.Torn() || f.Split() {
			t.Errorf("%s, aligned: torn %v, split %v", c.name, f.Torn(), f.Split())
		}
	}
}

// The rest of an access unit is no random access point, and ends with its first slice or where another begins for certain.
func TestRest(t *testing.T) {
	for _, c := range []struct {
		name  string
		codec Codec
		es    string
		want  Verdict
	}{
		{"its slice", H264, "0165" + pps + idr, NotRandomAccess},
		{"its slice and another access unit", H264, pps + pSlice + sps + idr, RandomAccess},
		{"a delimiter before its slice would come", H264, tail + aud + sps + idr, RandomAccess},
		{"its recovery point", H264, point + pSlice, NotRandomAccess},
		{"a delimiter", HEVC, hpps + haud + hcra, RandomAccess},
		{"a delimiter", VVC, vaud + vidr, RandomAccess},
		{"a sequence header", MPEG2Video, m2sl + m2seq + m2ext + m2I, RandomAccess},
		{"a picture and its sequence header before", MPEG2Video, m2ext + m2gop + m2I, NotRandomAccess},
	} {
		var f Finder
		f.Begin(c.codec, false)
		f.Several()
		f.Rest()
		f.Feed(unhex(t, c.es))
		if v := f.End(); v != c.want {
			t.Errorf("%s: %s", c.name, v)
		}
	}
}

// Pieces of every codec's syntax, for streams of all kinds that no encoder makes.
var pieces = []string{aud, sps, pps, idr, idr2, pSlice, second, iSlice, point, timing, filler, tail, m2seq, m2ext, m2gop, m2I, m2P, m2sl,
	haud, hvps, hsps, hpps, hsei, hidr, hcra, htrail, hsecnd, hlayer, vaud, vsps, vph, vidr, vidr1, vgdr, vtrail, "000001b6", "0000010f", "0000010e", "0000010d",
	"00000112", "0000010a0b", "0000013208", "00", "000000", "000001", "000003", "01", "ff", "0601"}

// Streams put together at random from pieces, and fed in random pieces, are judged as they are at once.
func TestSplits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	count := map[Verdict]int{}
	for range 20_000 {
		var es []byte
		for range 1 + r.IntN(8) {
			es = append(es, unhex(t, pieces[r.IntN(len(pieces))])...)
		}
		c, flag := Codec(r.IntN(int(numCodecs))), r.IntN(2) == 0
		whole := find(c, flag, es, 0)
		count[whole.verdict]++
		var f Finder
		f.Begin(c, flag)
		for rest := es; len(rest) > 0; {
			n := r.IntN(min(len(rest), 6) + 1)
			f.Feed(rest[:n])
			rest = rest[n:]
		}
		if f.End() != whole.verdict || f.Name() != whole.Name() {
			t.Fatalf("%s flag %v % x: in pieces %s %q, whole %s %q", c, flag, es, f.verdict, f.Name(), whole.verdict, whole.Name())
		}
	}
	if count[RandomAccess] < 1000 || count[NotRandomAccess] < 1000 || count[Undecided] > 0 {
		t.Errorf("verdicts %v", count)
	}
}

// unaligned is the middle of a slice of n bytes that holds no start code, but zeros and ones as often as an entropy coder writes them.
func unaligned(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, 0, n)
	zeros := 0
	for len(b) < n {
		c := byte(r.Uint32())
		if zeros >= 2 && c <= 3 {
			b, zeros = append(b, 3), 0
		}
		b = append(b, c)
		if zeros++; c != 0 {
			zeros = 0
		}
	}
	return b
}

func TestNoAllocation(t *testing.T) {
	long, idr := unaligned(1<<16), unhex(t, aud+sps+pps+timing+pSlice+aud+idr)
	var f Finder
	for _, c := range []Codec{H264, HEVC, MPEG2Video, AAC, Unknown} {
		if n := testing.AllocsPerRun(10, func() {
			f.Begin(c, true)
			f.Feed(long)
			f.Feed(idr)
			f.End()
		}); n != 0 {
			t.Errorf("%s: %v allocations", c, n)
		}
	}
}

func FuzzFinder(f *testing.F) {
	for _, c := range verdicts {
		f.Add(unhex(f, c.es), uint8(c.codec), c.flag, uint8(3))
	}
	f.Fuzz(func(t *testing.T, es []byte, c uint8, flag bool, n uint8) {
		whole := find(Codec(c), flag, es, 0)
		split := find(Codec(c), flag, es, int(n%32)+1)
		if whole.verdict == Undecided {
			t.Fatal("undecided at the end")
		}
		if whole.verdict != split.verdict || whole.Name() != split.Name() {
			t.Fatalf("whole %s %q, in pieces %s %q", whole.verdict, whole.Name(), split.verdict, split.Name())
		}
	})
}

func BenchmarkFinder(b *testing.B) {
	long := unaligned(1 << 20)
	if bytes.Contains(long, []byte{0, 0, 1}) {
		b.Fatal("a start code in the middle of a slice")
	}
	for _, size := range []int{184, 1 << 16, 1 << 20} {
		b.Run(fmt.Sprintf("unaligned/%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(long)))
			b.ReportAllocs()
			var f Finder
			for b.Loop() {
				f.Begin(H264, false)
				for rest := long; len(rest) > 0; {
					n := min(size, len(rest))
					f.Feed(rest[:n])
					rest = rest[n:]
				}
				if f.End() != NotRandomAccess {
					b.Fatal("found")
				}
			}
		})
	}
	for _, c := range []struct {
		name string
		es   string
	}{{"aligned/P", aud + pps + timing + pSlice}, {"aligned/IDR", aud + sps + pps + timing + idr}} {
		es := unhex(b, c.es)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var f Finder
			for b.Loop() {
				f.Begin(H264, false)
				f.Feed(es)
				if f.End() == Undecided {
					b.Fatal("undecided")
				}
			}
		})
	}
}
