package es_test

import (
	"bytes"
	"io"
	"math/rand/v2"
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

// However a stream is cut into PES packets, each of its random access points is found in the packet where it commences or in the next, where its
// first slice is, unless the start code of that slice lies in both; and no other packet is one.
func TestCasesAnew(t *testing.T) {
	_, stream, _ := judge(t, folder(t, "EC_CASES", "sps_every.ts"))
	at, points := truth(stream, 9, func(c byte) bool { return c&0x1f == 5 })
	slices, _ := truth(stream, 0x65, func(byte) bool { return false })
	r := rand.New(rand.NewPCG(5, 6))
	found, split := 0, 0
	for range 200 {
		size := 50 + r.IntN(3000)
		packets := map[int]bool{} // those that the Finder names
		for n := 0; n*size < len(stream); n++ {
			var f es.Finder
			f.Begin(es.H264, false)
			f.Several()
			for rest := stream[n*size : min((n+1)*size, len(stream))]; len(rest) > 0; {
				m := min(len(rest), 1+r.IntN(184))
				f.Feed(rest[:m])
				rest = rest[m:]
			}
			if f.End() == es.RandomAccess {
				packets[n] = true
			}
		}
		k := 0
		for j, a := range at {
			if !points[j] {
				continue
			}
			slice := slices[k] // of this access unit: each has one
			k++
			first, last := a/size, slice/size
			whole := (slice-3)/size == last && (slice+1)/size == last // prefix, header, first_mb_in_slice
			switch {
			case packets[last]:
				found++
				delete(packets, last)
			case whole:
				t.Errorf("packets of %d bytes: the access unit at %d, slice at %d, is not found in %d to %d", size, a, slice, first, last)
			default:
				split++
			}
		}
		for n := range packets {
			t.Errorf("packets of %d bytes: %d is no random access point", size, n)
		}
	}
	if found < 2000 || split > found/50 {
		t.Errorf("%d found, %d with a start code in two packets", found, split)
	}
	t.Logf("%d found, %d with a start code in two packets", found, split)
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
