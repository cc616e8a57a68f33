package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"ec-dump": main}) }

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// sim STANDARD SECONDS FILE [LOSS] writes a simulated multiplex.
			"sim": func(s *testscript.TestScript, neg bool, args []string) {
				seconds, err := strconv.Atoi(args[1])
				s.Check(err)
				im := sim.Impair{Seed: 1}
				if len(args) > 3 {
					im.Loss, err = strconv.ParseFloat(args[3], 64)
					s.Check(err)
				}
				want := map[string]sim.Standard{"atsc": sim.ATSC, "dvb": sim.DVB}[args[0]]
				for _, m := range sim.DefaultMuxes() {
					if m.Standard != want {
						continue
					}
					b, err := io.ReadAll(im.Reader(m.Reader(noon, noon.Add(time.Duration(seconds)*time.Second), 0)))
					s.Check(err)
					s.Check(os.WriteFile(s.MkAbs(args[2]), b, 0o644))
					return
				}
			},
			// chop PROGRAM IN OUT.eco OUT.ts writes the program as object stream, and as canonical TS.
			"chop": func(s *testscript.TestScript, neg bool, args []string) {
				program, err := strconv.Atoi(args[0])
				s.Check(err)
				in, err := os.ReadFile(s.MkAbs(args[1]))
				s.Check(err)
				cfg := chop.Config{Program: uint(program), Source: "attic"}
				var eco, canonical bytes.Buffer
				_, err = chop.Run(context.Background(), cfg, bytes.NewReader(in), object.NewWriter(&eco))
				s.Check(err)
				w, err := chop.NewTSWriter(&canonical, "all")
				s.Check(err)
				_, err = chop.Run(context.Background(), cfg, bytes.NewReader(in), w)
				s.Check(err)
				s.Check(os.WriteFile(s.MkAbs(args[2]), eco.Bytes(), 0o644))
				s.Check(os.WriteFile(s.MkAbs(args[3]), canonical.Bytes(), 0o644))
			},
			// without PID IN OUT removes the packets of a PID.
			"without": func(s *testscript.TestScript, neg bool, args []string) {
				pid, err := strconv.ParseUint(args[0], 0, 13)
				s.Check(err)
				b, err := os.ReadFile(s.MkAbs(args[1]))
				s.Check(err)
				var out []byte
				for ; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
					if (*ts.Packet)(b).PID() != ts.PID(pid) {
						out = append(out, b[:ts.PacketSize]...)
					}
				}
				s.Check(os.WriteFile(s.MkAbs(args[2]), out, 0o644))
			},
			// flip FILE OFFSET changes one bit; a negative offset counts from the end.
			"flip": func(s *testscript.TestScript, neg bool, args []string) {
				b, err := os.ReadFile(s.MkAbs(args[0]))
				s.Check(err)
				at, err := strconv.Atoi(args[1])
				s.Check(err)
				if at < 0 {
					at += len(b)
				}
				b[at] ^= 1
				s.Check(os.WriteFile(s.MkAbs(args[0]), b, 0o644))
			},
		},
	})
}
