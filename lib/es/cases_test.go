package es_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"every.channel/ec/lib/es"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// A unit is what a Finder judges: a PES packet with a PTS and those without one that follow it.
type unit struct {
	flag  bool
	from  int // in the elementary stream
	point bool
	name  string
}

// judge reads a transport stream whose one program begins with video, and returns its codec, its elementary stream and what the
// Finder says of it.
func judge(t *testing.T, file string) (codec es.Codec, stream []byte, units []unit) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var (
		r         = ts.NewReader(f)
		pat, pmt  psi.Assembler
		pmtPID    = ts.PIDNull
		video     = ts.PIDNull
		find      es.Finder
		payloads  bool
		scrambled bool
	)
	end := func() {
		if payloads {
			u := &units[len(units)-1]
			u.point, u.name = find.End() == es.RandomAccess, find.Name()
		}
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch p.PID() {
		case ts.PIDPAT:
			pat.Feed(p, func(s []byte) {
				if table, err := psi.ParsePAT(s); err == nil && len(table.Programs) > 0 {
					pmtPID = table.Programs[0].PID
				}
			})
		case pmtPID:
			pmt.Feed(p, func(s []byte) {
				table, err := psi.ParsePMT(s)
				if err != nil || video != ts.PIDNull {
					return
				}
				for _, s := range table.Streams {
					if c := table.Codec(s); c.Video() {
						video, codec = s.PID, c
						return
					}
				}
			})
		case video:
			payload := p.Payload()
			scrambled = scrambled || p.Scrambled()
			if p.UnitStart() {
				pes, err := ts.ParsePES(payload)
				if err != nil {
					payloads = false
					continue
				}
				payload = payload[pes.HeaderLen:]
				if pes.HasPTS {
					end()
					find.Begin(codec, p.RandomAccess())
					if !pes.DataAlignment {
						find.Several()
					}
					units = append(units, unit{flag: p.RandomAccess(), from: len(stream)})
					payloads = true
				}
			}
			if payloads {
				find.Feed(payload)
				stream = append(stream, payload...)
			}
		}
	}
	end()
	return codec, stream, units
}

// truth finds the access units of a stream that has a delimiter before each, and says of each where its delimiter's first
// byte after the start code is and whether it holds a NAL unit that is a random access point.
func truth(stream []byte, delimiter byte, point func(byte) bool) (at []int, points []bool) {
	for i := 0; ; {
		j := bytes.Index(stream[i:], []byte{0, 0, 1})
		if j < 0 || i+j+3 >= len(stream) {
			return at, points
		}
		i += j + 3
		switch c := stream[i]; {
		case c == delimiter:
			at, points = append(at, i), append(points, false)
		case len(points) > 0 && point(c):
			points[len(points)-1] = true
		}
	}
}

func folder(t *testing.T, variable, file string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		t.Skip("needs the streams that " + variable + " names")
	}
	return filepath.Join(dir, file)
}

// In streams that were made or recorded elsewhere the packets that the Finder names are those in which a random access point
// commences, as the delimiters of the whole stream show them.
func TestCases(t *testing.T) {
	h264 := func(c byte) bool { return c&0x1f == 5 }
	hevc := func(c byte) bool { return c>>1&0x3f >= 16 && c>>1&0x3f <= 23 }
	for _, c := range []struct {
		variable, file string
		codec          es.Codec
		delimiter      byte
		point          func(byte) bool
		name           string
	}{
		{"EC_CASES", "sps_every.ts", es.H264, 9, h264, "avc1.64000b"},
		{"EC_CASES", "pes_unaligned_h264.ts", es.H264, 9, h264, "avc1.64000b"},
		{"EC_CASES", "hevc_ps_every.ts", es.HEVC, 0x46, hevc, "hev1.1.6.L30.90"},
		{"EC_CAPTURES", "h264-rai-every-frame-no-time.ts", es.H264, 9, h264, ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			codec, stream, units := judge(t, folder(t, c.variable, c.file))
			if codec != c.codec {
				t.Fatalf("%s, want %s", codec, c.codec)
			}
			at, points := truth(stream, c.delimiter, c.point)
			found, want := 0, 0
			for i, u := range units {
				to := len(stream)
				if i+1 < len(units) {
					to = units[i+1].from
				}
				is := false
				for j, a := range at {
					is = is || points[j] && a >= u.from && a < to
				}
				if is {
					want++
				}
				if u.point {
					found++
					if c.name != "" && u.name != c.name {
						t.Errorf("packet %d: %q, want %q", i, u.name, c.name)
					}
				}
				if u.point != is {
					t.Errorf("packet %d of %d, bytes %d to %d: %v, want %v", i, len(units), u.from, to, u.point, is)
				}
			}
			if found < 3 || found > len(units)/4 {
				t.Errorf("%d of %d packets are random access points", found, len(units))
			}
			t.Logf("%d packets, %d access units, %d random access points", len(units), len(at), found)
		})
	}
}

// What is not what its type says is cut by random_access_indicator.
func TestCaseAVS(t *testing.T) {
	codec, _, units := judge(t, folder(t, "EC_CASES", "avs.ts"))
	if codec != es.AVS3 {
		t.Fatalf("%s, want avs3", codec)
	}
	flags := 0
	for i, u := range units {
		if u.flag {
			flags++
		}
		if u.point != u.flag {
			t.Errorf("packet %d: %v, flag %v", i, u.point, u.flag)
		}
	}
	if flags < 3 {
		t.Errorf("%d packets are flagged", flags)
	}
}
