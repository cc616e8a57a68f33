// Package es knows elementary streams: which codecs there are, what they are for, and where decoding of
// one can start.
//
// In: a Codec (lib/psi says which, from a PMT) and the payload of its PES packets. Out: whether a PES packet is
// a random access point, and the codec's name by RFC 6381. docs/format/codecs.md holds the rules and the clauses
// behind them.
package es

// A Role is what a stream is for.
type Role uint8

// Roles.
const (
	RoleUnknown Role = iota
	RoleVideo
	RoleAudio
	RoleSubtitle // comes when something is said
	RoleData     // comes when it comes
)

var roleNames = [...]string{RoleUnknown: "unknown", RoleVideo: "video", RoleAudio: "audio", RoleSubtitle: "subtitle", RoleData: "data"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return roleNames[RoleUnknown]
}

// Steady tells whether a stream of this role never pauses for long, so that its silence means something.
func (r Role) Steady() bool { return r == RoleVideo || r == RoleAudio }

// Codec is what a stream most likely carries. The zero value is Unknown.
type Codec uint8

// Codecs. The order is of no meaning; names are what is written.
const (
	Unknown Codec = iota
	MPEG1Video
	MPEG2Video
	MPEG4Video // ISO/IEC 14496-2
	H264
	HEVC
	VVC
	EVC
	LCEVC // an enhancement of another stream
	VC1
	AVS  // GB/T 20090.2 and GB/T 20090.16 (AVS+)
	AVS2 // GB/T 33475.2
	AVS3 // T/AI 109.2
	Dirac
	AV1
	VP9
	JPEG2000
	JPEGXS
	MP2 // layers I to III of MPEG-1 and MPEG-2 audio
	AAC // ADTS
	AACLATM
	MPEG4Audio // ISO/IEC 14496-3 without a transport syntax
	AC3
	EAC3
	AC4
	DTS
	DTSUHD
	TrueHD
	Opus
	MPEGH // ISO/IEC 23008-3
	LPCM
	S302M
	AVSAudio
	DVBSub
	Teletext
	TTML
	ARIBCaption
	SCTE27
	PGS
	MPEG4Text
	SCTE35
	ID3
	KLV
	SMPTE2038
	Data
	numCodecs
)

// A method is how random access points of a codec are found.
type method uint8

const (
	byFlag      method = iota // random_access_indicator, H.222.0 §2.4.3.5
	byPacket                  // each PES packet with a PTS is one
	byHead                    // by the first bytes of the PES packet
	byStartCode               // by what start codes begin
)

// A reader looks at the bytes that begin something: a start code's unit, or a PES packet. whole says that no more of
// them will come. It returns how many it wants to see before it is called again, 0 when it needs no more, or
// readSEI.
type reader func(f *Finder, b []byte, whole bool) int

// codecs is the one table of codecs.
var codecs = [numCodecs]struct {
	name string
	role Role
	how  method
	read reader
	rfc  string // RFC 6381 name of every such stream
}{
	Unknown: {name: "unknown"},

	MPEG1Video: {"mpeg1video", RoleVideo, byStartCode, readMPEG2, "mp4v.6a"},
	MPEG2Video: {"mpeg2video", RoleVideo, byStartCode, readMPEG2, ""},
	MPEG4Video: {"mpeg4video", RoleVideo, byStartCode, readMPEG4, ""},
	H264:       {"h264", RoleVideo, byStartCode, readH264, ""},
	HEVC:       {"hevc", RoleVideo, byStartCode, readHEVC, ""},
	VVC:        {"vvc", RoleVideo, byStartCode, readVVC, ""},
	EVC:        {"evc", RoleVideo, byFlag, nil, ""},
	LCEVC:      {"lcevc", RoleVideo, byFlag, nil, ""},
	VC1:        {"vc1", RoleVideo, byStartCode, readVC1, ""},
	AVS:        {"avs", RoleVideo, byStartCode, readAVS, ""},
	AVS2:       {"avs2", RoleVideo, byStartCode, readAVS, ""},
	AVS3:       {"avs3", RoleVideo, byStartCode, readAVS, ""},
	Dirac:      {"dirac", RoleVideo, byHead, readDirac, ""},
	AV1:        {"av1", RoleVideo, byStartCode, readAV1, ""},
	VP9:        {"vp9", RoleVideo, byHead, readVP9, ""},
	JPEG2000:   {"jpeg2000", RoleVideo, byPacket, nil, ""},
	JPEGXS:     {"jpegxs", RoleVideo, byPacket, nil, ""},

	MP2:        {"mp2", RoleAudio, byHead, readMP2, ""},
	AAC:        {"aac", RoleAudio, byHead, readADTS, ""},
	AACLATM:    {"aac-latm", RoleAudio, byHead, readLOAS, ""},
	MPEG4Audio: {"mpeg4audio", RoleAudio, byPacket, nil, ""},
	AC3:        {"ac3", RoleAudio, byPacket, nil, "ac-3"},
	EAC3:       {"eac3", RoleAudio, byPacket, nil, "ec-3"},
	AC4:        {"ac4", RoleAudio, byPacket, nil, ""},
	DTS:        {"dts", RoleAudio, byPacket, nil, ""},
	DTSUHD:     {"dts-uhd", RoleAudio, byPacket, nil, ""},
	TrueHD:     {"truehd", RoleAudio, byPacket, nil, ""},
	Opus:       {"opus", RoleAudio, byPacket, nil, "opus"},
	MPEGH:      {"mpegh", RoleAudio, byHead, readMHAS, ""},
	LPCM:       {"lpcm", RoleAudio, byPacket, nil, ""},
	S302M:      {"s302m", RoleAudio, byPacket, nil, ""},
	AVSAudio:   {"avs-audio", RoleAudio, byPacket, nil, ""},

	DVBSub:      {name: "dvbsub", role: RoleSubtitle},
	Teletext:    {name: "teletext", role: RoleSubtitle},
	TTML:        {name: "ttml", role: RoleSubtitle},
	ARIBCaption: {name: "arib-caption", role: RoleSubtitle},
	SCTE27:      {name: "scte27", role: RoleSubtitle},
	PGS:         {name: "pgs", role: RoleSubtitle},
	MPEG4Text:   {name: "mpeg4text", role: RoleSubtitle},

	SCTE35:    {name: "scte35", role: RoleData},
	ID3:       {name: "id3", role: RoleData},
	KLV:       {name: "klv", role: RoleData},
	SMPTE2038: {name: "smpte2038", role: RoleData},
	Data:      {name: "data", role: RoleData},
}

// known is c, or Unknown when there is no such codec.
func (c Codec) known() Codec {
	if c < numCodecs {
		return c
	}
	return Unknown
}

// String is the name in catalogs and reports.
func (c Codec) String() string { return codecs[c.known()].name }

// Role is what streams of the codec are for.
func (c Codec) Role() Role { return codecs[c.known()].role }

// Video tells whether c is a video codec.
func (c Codec) Video() bool { return c.Role() == RoleVideo }

// Audio tells whether c is an audio codec.
func (c Codec) Audio() bool { return c.Role() == RoleAudio }

// MarshalText writes the name.
func (c Codec) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a name. One that it does not know, perhaps of a later edition, is Unknown.
func (c *Codec) UnmarshalText(b []byte) error {
	*c = Named(string(b))
	return nil
}

// Named is the codec of that name, or Unknown.
func Named(name string) Codec {
	for c := range codecs {
		if codecs[c].name == name {
			return Codec(c)
		}
	}
	return Unknown
}
