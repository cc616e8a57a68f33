package psi

import "every.channel/ec/lib/es"

// StreamType is stream_type of a PMT, H.222.0 table 2-34 and what ATSC, SCTE and DVB added.
type StreamType uint8

// Stream types in broadcast use.
const (
	TypeMPEG1Video StreamType = 0x01
	TypeMPEG2Video StreamType = 0x02
	TypeMPEG1Audio StreamType = 0x03
	TypeMPEG2Audio StreamType = 0x04
	TypeSections   StreamType = 0x05
	TypePrivate    StreamType = 0x06 // PES private data; DVB names the codec in a descriptor
	TypeDSMCC      StreamType = 0x0b
	TypeAAC        StreamType = 0x0f // ADTS
	TypeMPEG4Video StreamType = 0x10
	TypeAACLATM    StreamType = 0x11
	TypeMetadata   StreamType = 0x15
	TypeH264       StreamType = 0x1b
	TypeHEVC       StreamType = 0x24
	TypeVVC        StreamType = 0x33
	TypeAC3        StreamType = 0x81 // A/53 part 3
	TypeDTS        StreamType = 0x82
	TypeSCTE35     StreamType = 0x86
	TypeEAC3       StreamType = 0x87
)

var typeNames = map[StreamType]string{
	TypeMPEG1Video: "MPEG-1 video", TypeMPEG2Video: "MPEG-2 video", TypeMPEG1Audio: "MPEG-1 audio",
	TypeMPEG2Audio: "MPEG-2 audio", TypeSections: "private sections", TypePrivate: "private PES",
	0x07: "MHEG", 0x08: "DSM-CC", 0x0a: "DSM-CC multiprotocol", TypeDSMCC: "DSM-CC U-N", 0x0c: "DSM-CC stream descriptors",
	0x0d: "DSM-CC sections", TypeAAC: "AAC ADTS", TypeMPEG4Video: "MPEG-4 video", TypeAACLATM: "AAC LATM",
	0x12: "MPEG-4 SL PES", 0x13: "MPEG-4 SL sections", TypeMetadata: "metadata PES", 0x16: "metadata sections", TypeH264: "H.264",
	0x1c: "MPEG-4 audio", 0x1f: "H.264 SVC", 0x20: "H.264 MVC", 0x21: "JPEG 2000", TypeHEVC: "HEVC", 0x25: "HEVC temporal",
	0x2d: "MPEG-H audio", 0x2e: "MPEG-H audio auxiliary", TypeVVC: "VVC", TypeAC3: "AC-3", TypeDTS: "DTS",
	TypeSCTE35: "SCTE-35", TypeEAC3: "E-AC-3", 0x95: "ATSC data", 0xea: "VC-1",
}

// String is the name in the specification, "" when there is none.
func (t StreamType) String() string { return typeNames[t] }

// Codec is what a stream most likely carries.
type Codec = es.Codec

// Codecs that Stream.Codec tells apart.
const (
	MPEG1Video Codec = "mpeg1video"
	MPEG2Video Codec = "mpeg2video"
	MPEG4Video Codec = "mpeg4video"
	H264       Codec = "h264"
	HEVC       Codec = "hevc"
	VVC        Codec = "vvc"
	VC1        Codec = "vc1"
	MP2        Codec = "mp2"
	AAC        Codec = "aac"
	AACLATM    Codec = "aac-latm"
	AC3        Codec = "ac3"
	EAC3       Codec = "eac3"
	AC4        Codec = "ac4"
	DTS        Codec = "dts"
	Opus       Codec = "opus"
	MPEGH      Codec = "mpegh"
	DVBSub     Codec = "dvbsub"
	Teletext   Codec = "teletext"
	SCTE35     Codec = "scte35"
	ID3        Codec = "id3"
	KLV        Codec = "klv"
	Data       Codec = "data"
	Unknown    Codec = "unknown"
)

// Codec guesses from stream_type, registration and DVB descriptors.
func (s Stream) Codec() Codec {
	switch s.Type {
	case TypeMPEG1Video:
		return MPEG1Video
	case TypeMPEG2Video, 0x80: // 0x80 is DigiCipher II, MPEG-2 video in cable plants
		return MPEG2Video
	case TypeMPEG1Audio, TypeMPEG2Audio:
		return MP2
	case TypeAAC:
		return AAC
	case TypeMPEG4Video:
		return MPEG4Video
	case TypeAACLATM, 0x1c:
		return AACLATM
	case TypeH264, 0x1f, 0x20:
		return H264
	case TypeHEVC, 0x25:
		return HEVC
	case TypeVVC:
		return VVC
	case 0x2d, 0x2e:
		return MPEGH
	case TypeAC3:
		return AC3
	case TypeDTS:
		return DTS
	case TypeSCTE35:
		return SCTE35
	case TypeEAC3:
		return EAC3
	case 0xea:
		return VC1
	case TypePrivate, TypeMetadata:
		return s.private()
	case TypeSections, 0x07, 0x08, 0x0a, TypeDSMCC, 0x0c, 0x0d, 0x16, 0x95:
		return Data
	}
	return Unknown
}

// private reads the descriptors of a private stream: EN 300 468 §6.2 and registered formats.
func (s Stream) private() Codec {
	for tag, b := range s.Descriptors.All() {
		switch tag {
		case TagAC3, TagATSCAC3:
			return AC3
		case TagEAC3:
			return EAC3
		case TagDTS:
			return DTS
		case TagAAC:
			return AAC
		case TagTeletext, 0x46: // VBI teletext
			return Teletext
		case TagSubtitling:
			return DVBSub
		case TagExtension: // EN 300 468 §6.4: the first byte is descriptor_tag_extension
			if len(b) > 0 && b[0] == 0x15 {
				return AC4
			}
			if len(b) > 0 && b[0] == 0x80 {
				return Opus
			}
		case TagRegistration:
			if len(b) < 4 {
				continue
			}
			switch string(b[:4]) {
			case "AC-3":
				return AC3
			case "EAC3":
				return EAC3
			case "AC-4":
				return AC4
			case "Opus":
				return Opus
			case "HEVC":
				return HEVC
			case "VC-1":
				return VC1
			case "CUEI":
				return SCTE35
			case "ID3 ":
				return ID3
			case "KLVA":
				return KLV
			case "DTS1", "DTS2", "DTS3":
				return DTS
			}
		}
	}
	return Data
}
