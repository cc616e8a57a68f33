package psi

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"every.channel/ec/lib/es"
)

// What a descriptor, or a registration of stream or program, makes of a stream_type.
func TestCodecByDescriptor(t *testing.T) {
	d := func(tag uint8, body ...byte) Descriptors { return AppendDescriptor(nil, tag, body) }
	reg := func(s string) Descriptors { return d(TagRegistration, []byte(s)...) }
	for _, c := range []struct {
		name    string
		program Descriptors
		typ     StreamType
		stream  Descriptors
		want    es.Codec
	}{
		{"HEVC by registration", nil, 0x06, reg("HEVC"), es.HEVC},
		{"HEVC by its descriptor", nil, 0x06, d(0x38, 1), es.HEVC},
		{"AVC by its descriptor", nil, 0x06, d(0x28, 100, 0, 40, 0), es.H264},
		{"VVC by its descriptor", nil, 0x06, d(0x39, 1), es.VVC},
		{"AVS by registration", nil, 0x06, reg("AVSV"), es.AVS},
		{"AVS2 by registration", nil, 0x06, reg("AVS2"), es.AVS2},
		{"AVS3 by registration", nil, 0x06, reg("AVS3"), es.AVS3},
		{"AVS3 by stream_type", nil, 0xd4, reg("AVSV"), es.AVS3},
		{"AVS3 audio", nil, 0xd5, reg("AVSA"), es.AVSAudio},
		{"Dirac by registration", nil, 0x06, reg("drac"), es.Dirac},
		{"VC-1 by registration", nil, 0x06, reg("VC-1"), es.VC1},
		{"AV1", nil, 0x06, append(reg("AV01"), d(0x80, 0x81, 0, 0, 0)...), es.AV1},
		{"JPEG XS by extension", nil, 0x06, d(0x3f, 0x14), es.JPEGXS},
		{"MPEG-H by extension", nil, 0x06, d(0x3f, 0x08), es.MPEGH},
		{"an empty extension", nil, 0x06, d(0x3f), es.Data},
		{"DTS-HD", nil, 0x06, d(TagExtension, 0x0e), es.DTS},
		{"DTS-UHD", nil, 0x06, d(TagExtension, 0x21), es.DTSUHD},
		{"TTML", nil, 0x06, d(TagExtension, 0x20), es.TTML},
		{"an extension that names nothing", nil, 0x06, append(d(TagExtension, 0x06), d(TagAC3)...), es.AC3},
		{"ARIB captions", nil, 0x06, append(d(0x52, 0x30), d(0xfd, 0, 8, 0x3d)...), es.ARIBCaption},
		{"ARIB data", nil, 0x06, d(0xfd, 0, 12), es.Data},
		{"KLV in PES", nil, 0x06, reg("KLVA"), es.KLV},
		{"KLV in metadata PES", nil, 0x15, d(0x26, 0x01, 0x00, 0xff, 'K', 'L', 'V', 'A', 0, 0x0f), es.KLV},
		{"ID3 in metadata PES", nil, 0x15, d(0x26, 0xff, 0xff, 'I', 'D', '3', ' ', 0xff, 'I', 'D', '3', ' ', 0, 0x0f), es.ID3},
		{"a cut metadata descriptor", nil, 0x15, d(0x26, 0xff), es.Data},
		{"a language and no codec", nil, 0x06, english, es.Data},
		{"a registration of somebody", nil, 0x06, reg("GA94"), es.Data},
		{"a registration cut short", nil, 0x06, reg("HEV"), es.Data},
		{"H.264 whatever is registered", nil, 0x1b, reg("HDMV"), es.H264},
		{"DigiCipher II", nil, 0x80, nil, es.MPEG2Video},
		{"DigiCipher II in ATSC", reg("GA94"), 0x80, nil, es.MPEG2Video},
		{"LPCM of a disc", reg("HDMV"), 0x80, nil, es.LPCM},
		{"subtitles of SCTE 27, by program", reg("SCTE"), 0x82, nil, es.SCTE27},
		{"subtitles of SCTE 27, by stream", nil, 0x82, reg("SCTE"), es.SCTE27},
		{"DTS", nil, 0x82, nil, es.DTS},
		{"DTS of a disc", reg("HDMV"), 0x82, nil, es.DTS},
		{"SCTE-35", reg("CUEI"), 0x86, nil, es.SCTE35},
		{"DTS-HD of a disc", reg("HDMV"), 0x86, nil, es.DTS},
		{"E-AC-3 in ATSC, by a private descriptor", reg("GA94"), 0x06, d(0xcc, 0), es.EAC3},
		{"the same tag of nobody", nil, 0x06, d(0xcc, 0), es.Data},
		{"a type of nobody with a registration", nil, 0xc0, reg("HEVC"), es.HEVC},
		{"a type of nobody", nil, 0xc0, nil, es.Unknown},
	} {
		pmt := PMT{Descriptors: c.program}
		if got := pmt.Codec(Stream{Type: c.typ, PID: 0x31, Descriptors: c.stream}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if c.program == nil {
			if got := (Stream{Type: c.typ, Descriptors: c.stream}).Codec(); got != c.want {
				t.Errorf("%s, without program: %s, want %s", c.name, got, c.want)
			}
		}
	}
}

// H.222.0 table 2-34 up to 0x36 and 0x7F has no value that is unknown here, and what is unknown has no name.
func TestStreamTypes(t *testing.T) {
	for i := range types {
		typ := StreamType(i)
		known := types[i].codec != es.Unknown
		if standard := i >= 0x01 && i <= 0x36 || i == 0x7f; standard && !known {
			t.Errorf("0x%02x is in table 2-34", i)
		}
		if (typ.String() != "") != known {
			t.Errorf("0x%02x: name %q, codec %s", i, typ, types[i].codec)
		}
		if typ.Sections() && types[i].codec.Role() != es.RoleData {
			t.Errorf("0x%02x: %s in sections", i, types[i].codec)
		}
		if typ.Part() && typ.Sections() {
			t.Errorf("0x%02x is a part of a stream, and sections", i)
		}
	}
}

// docs/format/codecs.md lists the stream_types, format_identifiers and parts that are here.
func TestStreamTypeDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/codecs.md")
	if err != nil {
		t.Fatal(err)
	}
	numbers := regexp.MustCompile(`0x([0-9A-F]{2})(?:–0x([0-9A-F]{2}))?`)
	expand := func(s string) (list []StreamType) {
		for _, m := range numbers.FindAllStringSubmatch(s, -1) {
			from, _ := strconv.ParseUint(m[1], 16, 8)
			to := from
			if m[2] != "" {
				to, _ = strconv.ParseUint(m[2], 16, 8)
			}
			for ; from <= to; from++ {
				list = append(list, StreamType(from))
			}
		}
		return list
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\w+ \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 30 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		codec := es.Named(r[1])
		if codec == es.Data || codec == es.Unknown {
			continue
		}
		var listed, here []StreamType
		if first, _, _ := strings.Cut(r[2], ";"); strings.HasPrefix(first, "0x") || strings.HasPrefix(first, "in ") {
			// scoped types stand after "in"; the descriptors of a row that has no stream_type are not types
			for part := range strings.SplitSeq(first, ", ") {
				if strings.HasPrefix(part, "in ") || strings.Contains(part, " with ") {
					break
				}
				listed = append(listed, expand(part)...)
			}
		}
		for i := range types {
			if types[i].codec == codec {
				here = append(here, StreamType(i))
			}
		}
		if len(here) > 0 && !slices.Equal(listed, here) {
			t.Errorf("%s: the page lists %x, the code %x", codec, listed, here)
		}
		for format, c := range formats {
			if c == codec && !strings.Contains(r[2], "`"+format+"`") {
				t.Errorf("%s: the page lacks %q", codec, format)
			}
		}
		for format, of := range scopedTypes {
			for typ, c := range of {
				if c == codec && !strings.Contains(r[2], "in "+format+" ") {
					t.Errorf("%s: the page lacks 0x%02x in %s", codec, typ, format)
				}
				if c == codec && !strings.Contains(r[2], fmt.Sprintf("0x%02X", uint8(typ))) {
					t.Errorf("%s: the page lacks 0x%02x", codec, typ)
				}
			}
		}
	}
	line := regexp.MustCompile(`(?m)^Streams of stream_type (.*) are a part of another`).FindStringSubmatch(string(page))
	var parts []StreamType
	for i := range types {
		if StreamType(i).Part() {
			parts = append(parts, StreamType(i))
		}
	}
	if line == nil || !slices.Equal(expand(line[1]), parts) {
		t.Errorf("the page does not list the parts %x", parts)
	}
}
