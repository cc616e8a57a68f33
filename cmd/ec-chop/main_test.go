package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"ec-chop": main}) }

var start = time.Date(2026, 3, 14, 15, 20, 0, 0, time.UTC)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			transcode, err := filepath.Abs("../../scripts/transcode")
			e.Setenv("TRANSCODE", transcode)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// sim CHANNEL SECONDS FILE [OPTION ...] writes a simulated broadcast. Options: full (all programs), from=SECONDS (join
			// later), nosi (no PSIP or SI), nopat, nopmt, noes (no video), skip=BYTES (cut from the start), only=BYTES (cut the end).
			"sim": func(s *testscript.TestScript, neg bool, args []string) {
				var b sim.Broadcast
				m, service, err := b.Channel(args[0])
				s.Check(err)
				seconds, err := strconv.Atoi(args[1])
				s.Check(err)
				program, join, im, skip, only, without := service.Program, 0, sim.Impair{}, 0, -1, ts.PIDNull
				for _, o := range args[3:] {
					key, v, _ := strings.Cut(o, "=")
					n, _ := strconv.Atoi(v)
					switch key {
					case "full":
						program = 0
					case "from":
						join = n
					case "nosi":
						im.StripSI = true
					case "nopat":
						without = ts.PIDPAT
					case "nopmt":
						without = service.PID
					case "noes":
						without = service.PID + 1
					case "skip":
						skip = n
					case "only":
						only = n
					default:
						s.Fatalf("unknown option %s", o)
					}
				}
				r := m.Reader(start.Add(time.Duration(join)*time.Second), start.Add(time.Duration(seconds)*time.Second), program)
				data, err := io.ReadAll(im.Reader(r))
				s.Check(err)
				data = data[skip:]
				if only >= 0 {
					data = data[:min(only, len(data))]
				}
				if without != ts.PIDNull {
					kept := data[:0]
					for ; len(data) >= ts.PacketSize; data = data[ts.PacketSize:] {
						if p := (*ts.Packet)(data); p.PID() != without {
							kept = append(kept, p[:]...)
						}
					}
					data = kept
				}
				s.Check(os.WriteFile(s.MkAbs(args[2]), data, 0o666))
			},
			// clock CHANNEL FILE writes what ec-tune --clock would have recorded of the same simulated broadcast.
			"clock": func(s *testscript.TestScript, neg bool, args []string) {
				var b sim.Broadcast
				m, service, err := b.Channel(args[0])
				s.Check(err)
				rec := clock.Record{UTC: start.Add(time.Second), System: clock.System(m.Standard.String()), TSID: int(m.TSID), ONID: int(m.ONID), Program: int(service.Program)}
				rec.PCR = (clock.TicksAt(rec.UTC) + clock.TicksOf(m.Offset)).PTS().PCR()
				s.Check(os.WriteFile(s.MkAbs(args[1]), rec.Append(nil), 0o666))
			},
			// groups FILE TRACK LIST writes the group ids of a track to a list.
			"groups": func(s *testscript.TestScript, neg bool, args []string) {
				f, err := os.Open(s.MkAbs(args[0]))
				s.Check(err)
				defer f.Close()
				var list strings.Builder
				for r, last := object.NewReader(f), uint64(0); ; {
					rec, err := r.Next()
					if err == io.EOF {
						break
					}
					s.Check(err)
					if rec.Track.Name.String() == args[1] && rec.Object.Group != last {
						last = rec.Object.Group
						fmt.Fprintln(&list, last)
					}
				}
				s.Check(os.WriteFile(s.MkAbs(args[2]), []byte(list.String()), 0o666))
			},
			// exits CODE COMMAND ... runs a command that must end with this exit code.
			"exits": func(s *testscript.TestScript, neg bool, args []string) {
				err := s.Exec(args[1], args[2:]...)
				code := 0
				if e := (*exec.ExitError)(nil); errors.As(err, &e) {
					code = e.ExitCode()
				} else {
					s.Check(err)
				}
				if strconv.Itoa(code) != args[0] {
					s.Fatalf("exit code %d, want %s", code, args[0])
				}
			},
			// same A B compares two files byte by byte.
			"same": func(s *testscript.TestScript, neg bool, args []string) {
				if bytes.Equal([]byte(s.ReadFile(args[0])), []byte(s.ReadFile(args[1]))) == neg {
					s.Fatalf("%s and %s: equal is %v", args[0], args[1], neg)
				}
			},
			// starts FILE TEXT: the file begins with these bytes (escapes as in Go).
			"starts": func(s *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Unquote(`"` + args[1] + `"`)
				s.Check(err)
				if strings.HasPrefix(s.ReadFile(args[0]), want) == neg {
					s.Fatalf("%s starts with %q: %v", args[0], want, neg)
				}
			},
		},
	})
}
