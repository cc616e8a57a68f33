package main

import (
	"context"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/hdhr"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"ec-discover": main}) }

// antenna is a lineup without streams.
type antenna []hdhr.Channel

func (a antenna) Lineup() []hdhr.Channel { return a }
func (antenna) Signal(int64) hdhr.Signal { return hdhr.Signal{} }
func (antenna) Tune(context.Context, hdhr.Selection) (io.ReadCloser, error) {
	return nil, hdhr.CodeNoVideoData
}

var lineup = antenna{
	{Number: "5.1", Name: "WONE HD", HD: true, VideoCodec: "MPEG2", AudioCodec: "AC3", Frequency: 533000000, TSID: 2065, Program: 3, SignalStrength: 80, SignalQuality: 91},
	{Number: "5.2", Name: "evil\x1b[2Jname", VideoCodec: "H264", AudioCodec: "AAC", Frequency: 533000000, TSID: 2065, Program: 4},
	{Number: "107.1", Name: "NEXTGEN", VideoCodec: "HEVC", AudioCodec: "AC4", ATSC3: true, DRM: true},
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// device ADDRESS [ID] starts a device for the rest of the script.
			"device": func(s *testscript.TestScript, neg bool, args []string) {
				cfg := hdhr.Config{Addr: netip.MustParseAddr(args[0]), HTTPPort: hdhr.AnyPort, StreamPort: hdhr.AnyPort, Backend: lineup}
				if len(args) > 1 {
					id, err := hdhr.ParseDeviceID(args[1])
					s.Check(err)
					cfg.ID = id
				}
				d, err := hdhr.NewDevice(cfg)
				s.Check(err)
				s.Check(d.Listen(context.Background()))
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- d.Run(ctx) }()
				s.Defer(func() { cancel(); <-done })
				s.Setenv("BASE", d.BaseURL(cfg.Addr))
			},
			// stdoutlines N wants so many lines on the last command's stdout.
			"stdoutlines": func(s *testscript.TestScript, neg bool, args []string) {
				if n := strings.Count(s.ReadFile("stdout"), "\n"); args[0] != string(rune('0'+n)) {
					s.Fatalf("%d lines", n)
				}
			},
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", os.TempDir())
			return nil
		},
	})
}
