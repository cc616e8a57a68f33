package psi

import "every.channel/ec/lib/es"

// StreamType is stream_type of a PMT, H.222.0 table 2-34 and what ATSC, SCTE and others added.
type StreamType uint8

// Stream types that the code names.
const (
	TypeMPEG1Video StreamType = 0x01
	TypeMPEG2Video StreamType = 0x02
	TypeMPEG1Audio StreamType = 0x03
	TypeMPEG2Audio StreamType = 0x04
	TypeSections   StreamType = 0x05
	TypePrivate    StreamType = 0x06 // PES private data; a descriptor names the codec
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

// streamType is what a stream_type says.
type streamType struct {
	name  string
	codec es.Codec
	is    uint8
}

// What else a stream_type says.
const (
	sections = 1 << iota // carried in sections, not in PES packets
	part                 // of another stream, without which it is of no use
)

// types is H.222.0 table 2-34 up to its edition of 2023, and the user private types that broadcasters use: A/53 part 3 and
// SCTE ST 54 and 57 from 0x80, AVS (T/AI 109.6), Dirac and VC-1 as registered.
var types = [256]streamType{
	TypeMPEG1Video: {"MPEG-1 video", es.MPEG1Video, 0},
	TypeMPEG2Video: {"MPEG-2 video", es.MPEG2Video, 0},
	TypeMPEG1Audio: {"MPEG-1 audio", es.MP2, 0},
	TypeMPEG2Audio: {"MPEG-2 audio", es.MP2, 0},
	TypeSections:   {"private sections", es.Data, sections},
	TypePrivate:    {"private PES", es.Data, 0},
	0x07:           {"MHEG", es.Data, sections},
	0x08:           {"DSM-CC", es.Data, sections},
	0x09:           {"H.222.1", es.Data, 0},
	0x0a:           {"DSM-CC multiprotocol", es.Data, sections},
	TypeDSMCC:      {"DSM-CC U-N", es.Data, sections},
	0x0c:           {"DSM-CC stream descriptors", es.Data, sections},
	0x0d:           {"DSM-CC sections", es.Data, sections},
	0x0e:           {"auxiliary", es.Data, 0},
	TypeAAC:        {"AAC ADTS", es.AAC, 0},
	TypeMPEG4Video: {"MPEG-4 video", es.MPEG4Video, 0},
	TypeAACLATM:    {"AAC LATM", es.AACLATM, 0},
	0x12:           {"MPEG-4 SL PES", es.Data, 0},
	0x13:           {"MPEG-4 SL sections", es.Data, sections},
	0x14:           {"DSM-CC download", es.Data, sections},
	TypeMetadata:   {"metadata PES", es.Data, 0},
	0x16:           {"metadata sections", es.Data, sections},
	0x17:           {"metadata data carousel", es.Data, sections},
	0x18:           {"metadata object carousel", es.Data, sections},
	0x19:           {"metadata download", es.Data, sections},
	0x1a:           {"IPMP", es.Data, 0},
	TypeH264:       {"H.264", es.H264, 0},
	0x1c:           {"MPEG-4 audio", es.MPEG4Audio, 0},
	0x1d:           {"MPEG-4 text", es.MPEG4Text, 0},
	0x1e:           {"auxiliary video", es.Data, part}, // ISO/IEC 23002-3: depth or parallax of another stream
	0x1f:           {"H.264 SVC", es.H264, part},
	0x20:           {"H.264 MVC", es.H264, part},
	0x21:           {"JPEG 2000", es.JPEG2000, 0},
	0x22:           {"MPEG-2 video view", es.MPEG2Video, part},
	0x23:           {"H.264 view", es.H264, part},
	TypeHEVC:       {"HEVC", es.HEVC, 0},
	0x25:           {"HEVC temporal", es.HEVC, part},
	0x26:           {"H.264 MVCD", es.H264, part},
	0x27:           {"timeline", es.Data, 0}, // TEMI, H.222.0 annex U
	0x28:           {"HEVC annex G", es.HEVC, part},
	0x29:           {"HEVC annex G temporal", es.HEVC, part},
	0x2a:           {"HEVC annex H", es.HEVC, part},
	0x2b:           {"HEVC annex H temporal", es.HEVC, part},
	0x2c:           {"green metadata", es.Data, sections},
	0x2d:           {"MPEG-H audio", es.MPEGH, 0},
	0x2e:           {"MPEG-H audio auxiliary", es.MPEGH, part},
	0x2f:           {"quality metadata", es.Data, sections},
	0x30:           {"media orchestration", es.Data, sections},
	0x31:           {"HEVC tiles", es.HEVC, part},
	0x32:           {"JPEG XS", es.JPEGXS, 0},
	TypeVVC:        {"VVC", es.VVC, 0},
	0x34:           {"VVC temporal", es.VVC, part},
	0x35:           {"EVC", es.EVC, 0},
	0x36:           {"LCEVC", es.LCEVC, part},
	0x42:           {"AVS", es.AVS, 0},
	0x43:           {"AVS audio", es.AVSAudio, 0},
	0x7f:           {"IPMP", es.Data, 0},
	0x80:           {"DigiCipher II video", es.MPEG2Video, 0},
	TypeAC3:        {"AC-3", es.AC3, 0},
	TypeDTS:        {"DTS", es.DTS, 0},
	0x83:           {"TrueHD", es.TrueHD, 0},
	0x84:           {"E-AC-3", es.EAC3, 0},
	0x85:           {"DTS-HD", es.DTS, 0},
	TypeSCTE35:     {"SCTE-35", es.SCTE35, sections},
	TypeEAC3:       {"E-AC-3", es.EAC3, 0},
	0x88:           {"DTS-HD", es.DTS, 0}, // SCTE ST 194-2
	0x8a:           {"DTS", es.DTS, 0},
	0x95:           {"ATSC data", es.Data, sections}, // A/90
	0xd1:           {"Dirac", es.Dirac, 0},
	0xd2:           {"AVS2", es.AVS2, 0},
	0xd3:           {"AVS2 audio", es.AVSAudio, 0},
	0xd4:           {"AVS3", es.AVS3, 0},
	0xd5:           {"AVS3 audio", es.AVSAudio, 0},
	0xea:           {"VC-1", es.VC1, 0},
}

// scopedTypes are user private types that mean something else where a registration_descriptor says whose they are.
var scopedTypes = map[string]map[StreamType]es.Codec{
	"SCTE": {0x82: es.SCTE27, 0x83: es.Data}, // SCTE ST 27, SCTE ST 19
	"HDMV": {0x80: es.LPCM, 0x86: es.DTS, 0x90: es.PGS, 0x91: es.Data, 0x92: es.Data, 0xa1: es.EAC3, 0xa2: es.DTS},
}

// String is the name in the specification, "" when there is none.
func (t StreamType) String() string { return types[t].name }

// Sections tells whether such a stream is carried in sections and not in PES packets.
func (t StreamType) Sections() bool { return types[t].is&sections != 0 }

// Part tells whether such a stream is a layer, view, subset or enhancement of another one and cannot be decoded alone.
func (t StreamType) Part() bool { return types[t].is&part != 0 }

// Codec guesses what a stream of the program carries. The program's registration_descriptor says whose its user private
// types and descriptors are.
func (t PMT) Codec(s Stream) es.Codec { return s.codec(t.Descriptors.format()) }

// Codec guesses from stream_type, registration and other descriptors alone.
func (s Stream) Codec() es.Codec { return s.codec("") }

func (s Stream) codec(format string) es.Codec {
	if own := s.Descriptors.format(); own != "" {
		if c, ok := scopedTypes[own][s.Type]; ok {
			return c
		}
	}
	if c, ok := scopedTypes[format][s.Type]; ok {
		return c
	}
	t := types[s.Type]
	if s.Type == TypePrivate || s.Type == TypeMetadata || t.codec == es.Unknown {
		if c := s.private(format); c != es.Unknown {
			return c
		}
	}
	return t.codec
}

// format is format_identifier of the first registration_descriptor, H.222.0 §2.6.8, or "".
func (d Descriptors) format() string {
	if b, ok := d.Find(TagRegistration); ok && len(b) >= 4 {
		return string(b[:4])
	}
	return ""
}

// formats are format_identifiers of registration_descriptor that name a codec (H.222.0 §2.6.8), and what some multiplexers write there.
var formats = map[string]es.Codec{
	"AC-3": es.AC3, "EAC3": es.EAC3, "AC-4": es.AC4, "Opus": es.Opus, "DTS1": es.DTS, "DTS2": es.DTS, "DTS3": es.DTS,
	"DTSH": es.DTS, "mlpa": es.TrueHD, "BSSD": es.S302M, "AVSA": es.AVSAudio, "AV3A": es.AVSAudio,
	"HEVC": es.HEVC, "hvc1": es.HEVC, "hev1": es.HEVC, "avc1": es.H264, "H264": es.H264, "VVC ": es.VVC, "VC-1": es.VC1,
	"drac": es.Dirac, "AV01": es.AV1, "VP09": es.VP9, "AVSV": es.AVS, "AVS2": es.AVS2, "AVS3": es.AVS3, "LCEV": es.LCEVC,
	"CUEI": es.SCTE35, "ID3 ": es.ID3, "KLVA": es.KLV, "VANC": es.SMPTE2038,
}

// private reads the descriptors of a stream whose type does not say what it is.
func (s Stream) private(format string) es.Codec {
	for tag, b := range s.Descriptors.All() {
		switch tag {
		case TagRegistration:
			if len(b) < 4 {
				continue
			}
			format = string(b[:4])
			if c := formats[format]; c != es.Unknown {
				return c
			}
		case 0x1b: // MPEG-4_video_descriptor
			return es.MPEG4Video
		case 0x1c, 0x2e: // MPEG-4_audio_descriptor and its extension
			return es.MPEG4Audio
		case 0x26: // metadata_descriptor, H.222.0 §2.6.60
			if c := formats[metadataFormat(b)]; c != es.Unknown {
				return c
			}
		case 0x28: // AVC_video_descriptor
			return es.H264
		case 0x32: // J2K_video_descriptor
			return es.JPEG2000
		case 0x38: // HEVC_video_descriptor
			return es.HEVC
		case 0x39: // VVC_video_descriptor
			return es.VVC
		case 0x3a: // EVC_video_descriptor
			return es.EVC
		case 0x3f: // Extension_descriptor, H.222.0 §2.6.90
			if len(b) > 0 {
				switch b[0] {
				case 0x08: // MPEG-H_3dAudio_descriptor
					return es.MPEGH
				case 0x14: // JXS_video_descriptor
					return es.JPEGXS
				case 0x17: // LCEVC_video_descriptor
					return es.LCEVC
				}
			}
		case TagAC3, TagATSCAC3:
			return es.AC3
		case TagEAC3:
			return es.EAC3
		case 0xcc: // A/52 annex G, unless it is another's
			if format == "GA94" || format == "EAC3" {
				return es.EAC3
			}
		case TagDTS:
			return es.DTS
		case TagAAC:
			return es.AAC
		case TagTeletext, 0x46: // VBI teletext
			return es.Teletext
		case TagSubtitling:
			return es.DVBSub
		case 0xfd: // data_component_descriptor, ARIB STD-B10 §6.2.20; data_component_id 8 is captions, 0x12 those for one segment
			if len(b) >= 2 && b[0] == 0 && (b[1] == 0x08 || b[1] == 0x12) {
				return es.ARIBCaption
			}
		case TagExtension: // EN 300 468 §6.4: the first byte is descriptor_tag_extension
			if len(b) > 0 {
				switch b[0] {
				case 0x0e: // DTS-HD_audio_stream_descriptor
					return es.DTS
				case 0x15: // AC-4_descriptor
					return es.AC4
				case 0x20: // TTML_subtitling_descriptor
					return es.TTML
				case 0x21: // DTS-UHD_descriptor
					return es.DTSUHD
				case 0x80: // opus_audio_descriptor, as the codec's authors proposed it
					return es.Opus
				}
			}
		}
	}
	return es.Unknown
}

// metadataFormat is metadata_format_identifier, or metadata_application_format_identifier, of a metadata_descriptor.
func metadataFormat(b []byte) string {
	application := ""
	if len(b) >= 6 && b[0] == 0xff && b[1] == 0xff {
		application, b = string(b[2:6]), b[6:]
	} else if len(b) >= 2 {
		b = b[2:]
	}
	if len(b) >= 5 && b[0] == 0xff {
		return string(b[1:5])
	}
	return application
}
