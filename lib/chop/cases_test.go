package chop_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// readCase reads one of the streams that failed once; $EC_CASES names their folder.
func readCase(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("EC_CASES")
	if dir == "" {
		t.Skip("set EC_CASES to the folder with the streams that failed")
	}
	data, err := os.ReadFile(filepath.Join(dir, name+".ts"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// told is what a manifest says of each chunk: "B" or the reason.
func (r *result) told() string {
	var all []string
	for _, e := range r.manifest {
		if e.Scope == catalog.ScopeBroadcast {
			all = append(all, "B")
		} else {
			all = append(all, e.Reason)
		}
	}
	return strings.Join(all, " ")
}

// here gives a stream without time and identity what it needs.
var here = chop.Config{Broadcast: chop.Identity{System: "dvb", ONID: 9018, TSID: 1, Program: 1}, Clock: chop.ClockHost, Now: func() time.Time { return epoch }}

// TestCases: each stream that failed once has its right value.
func TestCases(t *testing.T) {
	const six = "first B B B B B cut"
	for _, c := range []struct {
		name  string
		cfg   chop.Config
		track string
		told  string
	}{
		{"bare-pcr-clean", here, "ec-dvb-9018-1-1--ts_t", "first B cut"},
		{"cadence", chop.Config{}, "ec-atsc-2065-3--ts_t13", "first B B B B B B cut"},
		{"sparse_scte35_5s", chop.Config{}, "ec-atsc-2065-3--ts_t13", "first B B B B B B B cut"},
		{"subtitles-every-3s-clean", chop.Config{}, "ec-dvb-9018-1-1--ts_t17", "first B B B B B B B cut"},
		{"disc_every", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"dup", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"dup_one_lost", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"back4s", chop.Config{}, "ec-atsc-2065-3--ts_t13", "first B B B B B B cut"},
		{"splice_home", chop.Config{}, "ec-atsc-2065-3--ts_t13", "first B B B B B B B B cut"},
		{"restart_counters", chop.Config{}, "ec-atsc-2065-3--ts_t13", "first B B damaged damaged B B cut"},
		{"tdt_wrong", chop.Config{}, "ec-dvb-8468-1101-3--ts_t13", six},
		{"vct_other", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"vct_next", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"korea", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"stt_proto", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"stt_1990", chop.Config{}, "ec-atsc-2065-3--ts_t", six},
		{"sps_every", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"hevc_ps_every", chop.Config{}, "ec-atsc-2065-3--ts_t13", "first B B B B cut"},
		{"pes_unaligned_h264", here, "ec-dvb-9018-1-1--ts_t", "first B B B B B cut"},
		{"pcr_none", chop.Config{}, "ec-atsc-2065-3--ts_t13", "first B B B B B cut"},
		{"avs", chop.Config{}, "ec-atsc-2065-3--ts_t13", "B B B B B cut"},
		{"pat2", chop.Config{Program: 3}, "ec-atsc-2065-3--ts_t13", six},
		{"cvct_onepart", chop.Config{}, "ec-atsc-2065-3--ts_t13", six},
		{"clock-jump", here, "ec-dvb-9018-1-1--ts_t", "damaged damaged unsure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receive(t, c.cfg, bytes.NewReader(readCase(t, c.name)))
			if got := r.told(); got != c.told {
				t.Errorf("%s, want %s", got, c.told)
			}
			for key := range r.chunks {
				if !strings.HasPrefix(key, c.track) {
					t.Errorf("%s, want %s", key, c.track)
				}
			}
		})
	}
}

// TestCaptures: what was promoted of the captures.
func TestCaptures(t *testing.T) {
	for name, want := range map[string]string{
		"h264-rai-every-frame-no-time": "first B B B unconfirmed cut",
		"dvbt-arte-hd-tot-lossy":       "damaged damaged damaged damaged damaged damaged damaged damaged cut",
	} {
		file := os.Getenv("EC_CAPTURES")
		if file == "" {
			t.Skip("set EC_CAPTURES to the folder with captures")
		}
		f, err := os.Open(filepath.Join(file, name+".ts"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := receive(t, here, f).told(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestScrambledCases: what cannot be read is no chunk, and the error says why.
func TestScrambledCases(t *testing.T) {
	for _, name := range []string{"scrambled", "pes_scrambled"} {
		r := newResult()
		_, err := chop.Run(context.Background(), chop.Config{Source: "x"}, bytes.NewReader(readCase(t, name)), r)
		if err == nil || !strings.Contains(err.Error(), "program 3 is scrambled") || len(r.objects) != 0 {
			t.Errorf("%s: %d objects, %v", name, len(r.objects), err)
		}
	}
}

// TestCasesAtEveryJoin: whenever a receiver joined, and whichever time tables it lost, one name has one set of bytes, and a chunk one name.
func TestCasesAtEveryJoin(t *testing.T) {
	step := 41
	if testing.Short() || raceEnabled {
		step = 397
	}
	for _, name := range []string{"cadence", "sparse_scte35_5s", "subtitles-every-3s-clean", "disc_every", "dup", "back4s", "splice_home", "restart_counters",
		"tdt_wrong", "vct_other", "vct_next", "korea", "stt_proto"} {
		t.Run(name, func(t *testing.T) {
			data := readCase(t, name)
			names := map[string]string{} // hash to name
			whole := receive(t, chop.Config{}, bytes.NewReader(data))
			check := func(what string, r *result) {
				t.Helper()
				agree(t, whole, r)
				for key, h := range r.chunks {
					if old, ok := names[h.String()]; ok && old != key {
						t.Errorf("%s: %s is also %s", what, key, old)
					}
					names[h.String()] = key
				}
			}
			check("whole", whole)
			shared := 0
			for at := 0; at < len(data)-200*188; at += step * 188 {
				r := receive(t, chop.Config{}, bytes.NewReader(data[at:]))
				check(fmt.Sprint("joined at packet ", at/188), r)
				shared += agree(t, whole, r)
			}
			if shared == 0 {
				t.Error("nothing is shared")
			}
			for _, lose := range []uint8{psi.TableTDT, psi.TableTOT} {
				for every := 1; every <= 4; every++ {
					n := 0
					r := receive(t, chop.Config{}, filtered(bytes.NewReader(data), func(p *ts.Packet) bool {
						if p.PID() != ts.PIDTDT || p.Payload()[1] != lose {
							return true
						}
						n++
						return n%every != 0
					}))
					check(fmt.Sprintf("every %d. table %#x lost", every, lose), r)
				}
			}
		})
	}
	a, b := receive(t, chop.Config{}, bytes.NewReader(readCase(t, "dup"))), receive(t, chop.Config{}, bytes.NewReader(readCase(t, "dup_one_lost")))
	if shared := agree(t, a, b); shared != 5 {
		t.Errorf("%d chunks shared where one copy of a duplicate was lost", shared)
	}
}
