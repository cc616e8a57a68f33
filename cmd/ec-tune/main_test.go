package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/sim"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"ec-tune": main}) }

// since is when every broadcast in these tests starts, so that their bytes can be foreseen.
var since = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

func broadcast(program uint16) io.Reader {
	return sim.DefaultMuxes()[0].Reader(since, time.Time{}, program)
}

// antenna is a device's backend whose channels misbehave, each in its own way.
type antenna struct{ open, late atomic.Int32 }

func (a *antenna) Lineup() []hdhr.Channel {
	ch := func(number, name string, program int) hdhr.Channel {
		return hdhr.Channel{Number: number, Name: name, Frequency: 533000000, TSID: 999, ONID: -1, Program: program}
	}
	lineup := []hdhr.Channel{
		ch("5.1", "GOOD", 3), ch("5.2", "LATE", 4), ch("6.1", "BUSY", 61), ch("6.2", "WEAK", 62),
		ch("6.3", "SILENT", 63), ch("6.4", "GONE", 64), ch("7.1", "DRM", 71), ch("8.1", "NEXTGEN", 81),
	}
	lineup[6].DRM = true
	lineup[7].ATSC3, lineup[7].AudioCodec = true, "AC4"
	return lineup
}

func (a *antenna) Signal(int64) hdhr.Signal {
	return hdhr.Signal{Lock: "8vsb", Strength: 80, Quality: 90}
}

func (a *antenna) Tune(ctx context.Context, s hdhr.Selection) (io.ReadCloser, error) {
	switch s.Program {
	case 61:
		return nil, hdhr.CodeSystemBusy
	case 62:
		return nil, hdhr.CodeTuneFailed
	case 4: // free at the third attempt
		if a.late.Add(1) < 3 {
			return nil, hdhr.CodeSystemBusy
		}
	}
	a.open.Add(1)
	st := &stream{r: broadcast(3), a: a, done: make(chan struct{})}
	switch s.Program {
	case 63: // silent after 1000 packets
		st.r = io.MultiReader(io.LimitReader(st.r, 188*1000), st.blocked())
	case 64: // gone within a packet
		st.r = io.LimitReader(st.r, 188*1000+100)
	}
	return st, nil
}

type stream struct {
	r    io.Reader
	a    *antenna
	once sync.Once
	done chan struct{}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func (s *stream) blocked() io.Reader {
	return readFunc(func([]byte) (int, error) { <-s.done; return 0, io.EOF })
}

func (s *stream) Read(b []byte) (int, error) {
	select {
	case <-s.done:
		return 0, io.EOF
	default:
		return s.r.Read(b)
	}
}

func (s *stream) Close() error {
	s.once.Do(func() { close(s.done); s.a.open.Add(-1) })
	return nil
}

func TestScripts(t *testing.T) {
	var mu sync.Mutex
	antennas := map[string]*antenna{} // by script
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// device ADDRESS [TUNERS] starts a device; $BASE is its HTTP server.
			"device": func(s *testscript.TestScript, neg bool, args []string) {
				a := &antenna{}
				cfg := hdhr.Config{Addr: netip.MustParseAddr(args[0]), HTTPPort: hdhr.AnyPort, StreamPort: hdhr.AnyPort, Backend: a, Tuners: 1}
				if len(args) > 1 {
					cfg.Tuners, _ = strconv.Atoi(args[1])
				}
				d, err := hdhr.NewDevice(cfg)
				s.Check(err)
				s.Check(d.Listen(context.Background()))
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- d.Run(ctx) }()
				s.Defer(func() { cancel(); <-done })
				s.Setenv("BASE", d.BaseURL(cfg.Addr))
				mu.Lock()
				antennas[s.Getenv("WORK")] = a
				mu.Unlock()
			},
			// released waits until the device has given every tuner back.
			"released": func(s *testscript.TestScript, neg bool, args []string) {
				mu.Lock()
				a := antennas[s.Getenv("WORK")]
				mu.Unlock()
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				deadline := time.After(5 * time.Second)
				for a.open.Load() != 0 {
					select {
					case <-tick.C:
					case <-deadline:
						s.Fatalf("%d tuners are still held", a.open.Load())
					}
				}
			},
			// broadcast FILE PROGRAM BYTES writes what the device's channels send.
			"broadcast": func(s *testscript.TestScript, neg bool, args []string) {
				program, _ := strconv.ParseUint(args[1], 10, 16)
				n, _ := strconv.ParseInt(args[2], 10, 64)
				f, err := os.Create(s.MkAbs(args[0]))
				s.Check(err)
				_, err = io.CopyN(f, broadcast(uint16(program)), n)
				s.Check(errors.Join(err, f.Close()))
			},
			// datagrams FILE ADDRESS [HEADER] sends a file as datagrams of seven packets until the script ends.
			"datagrams": func(s *testscript.TestScript, neg bool, args []string) {
				data, err := os.ReadFile(s.MkAbs(args[0]))
				s.Check(err)
				c, err := net.Dial("udp", args[1])
				s.Check(err)
				done := make(chan struct{})
				s.Defer(func() { close(done); c.Close() })
				go func() {
					tick := time.NewTicker(time.Millisecond)
					defer tick.Stop()
					rest := data
					for {
						n := min(7*188, len(rest))
						c.Write(rest[:n]) // refused while nobody listens
						if rest = rest[n:]; len(rest) == 0 {
							rest = data
						}
						select {
						case <-tick.C:
						case <-done:
							return
						}
					}
				}()
			},
		},
	})
}
