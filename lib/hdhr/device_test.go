package hdhr

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"os"
)

// fakeBackend receives two multiplexes. Packets carry their PID and a running number.
type fakeBackend struct {
	open   atomic.Int32 // streams that are open
	tunes  atomic.Int32
	silent bool // tunes but never delivers
}

func (b *fakeBackend) Lineup() []Channel {
	return []Channel{
		{Number: "5.1", Name: "WONE HD", HD: true, VideoCodec: "MPEG2", AudioCodec: "AC3", Frequency: 533000000, Modulation: "8vsb", TSID: 2065, Program: 3},
		{Number: "5.2", Name: "WONE SD", VideoCodec: "MPEG2", AudioCodec: "AC3", Frequency: 533000000, Modulation: "8vsb", TSID: 2065, Program: 4},
		{Number: "7.1", Name: "LOCKED", DRM: true, Frequency: 539000000, Modulation: "8vsb", TSID: 2066, Program: 1},
		{Number: "9.1", Name: "WEAK", Frequency: 545000000, TSID: 2067, Program: 1},
	}
}

func (b *fakeBackend) Signal(f int64) Signal {
	if f == 533000000 || f == 539000000 {
		return Signal{Lock: "8vsb", Strength: 83, Quality: 91, SymbolQuality: 100}
	}
	return Signal{Strength: 20}
}

func (b *fakeBackend) Tune(ctx context.Context, s Selection) (io.ReadCloser, error) {
	b.tunes.Add(1)
	if s.Frequency == 545000000 {
		return nil, CodeTuneFailed
	}
	b.open.Add(1)
	return &fakeStream{b: b, program: s.Program, done: make(chan struct{})}, nil
}

// fakeStream delivers a few packets a millisecond, on PIDs 0x30 and 0x31.
type fakeStream struct {
	b       *fakeBackend
	program int
	n       uint32
	once    sync.Once
	done    chan struct{}
}

func (s *fakeStream) Close() error {
	s.once.Do(func() { close(s.done); s.b.open.Add(-1) })
	return nil
}

func (s *fakeStream) Read(b []byte) (int, error) {
	wait := time.Millisecond
	if s.b.silent {
		wait = time.Hour
	}
	select {
	case <-s.done:
		return 0, io.EOF
	case <-time.After(wait):
	}
	n := 0
	for ; n+packetSize <= len(b) && n < 7*packetSize; n += packetSize {
		p := b[n : n+packetSize]
		clear(p)
		pid := 0x30 + s.n%2
		p[0], p[1], p[2], p[3] = 0x47, 0, byte(pid), 0x10|byte(s.n/2&0xf)
		binary.BigEndian.PutUint32(p[4:], s.n)
		p[8] = byte(s.program)
		s.n++
	}
	return n, nil
}

// startDevice runs a device on a loopback address of its own.
func startDevice(t *testing.T, ip string, b Backend, tuners int) *Device {
	t.Helper()
	d, err := NewDevice(Config{Addr: netip.MustParseAddr(ip), HTTPPort: AnyPort, StreamPort: AnyPort, Backend: b, Tuners: tuners})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("device: %v", err)
		}
		if f, ok := b.(*fakeBackend); ok && f.open.Load() != 0 {
			t.Errorf("%d streams left open", f.open.Load())
		}
	})
	return d
}

func at(d *Device) netip.Addr { return d.cfg.Addr }

// eventually waits for a condition that another goroutine makes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}

func TestDiscoverByAddress(t *testing.T) {
	d := startDevice(t, "127.77.1.1", &fakeBackend{}, 3)
	for _, c := range []struct {
		name string
		cfg  DiscoverConfig
		want int
	}{
		{"any", DiscoverConfig{Targets: []netip.AddrPort{d.DiscoverAddr(at(d))}}, 1},
		{"its id", DiscoverConfig{ID: d.ID(), Targets: []netip.AddrPort{netip.AddrPortFrom(at(d), 0)}}, 1},
		{"another id", DiscoverConfig{ID: 0x10500016, Targets: []netip.AddrPort{netip.AddrPortFrom(at(d), 0)}, Wait: 20 * time.Millisecond}, 0},
		{"nobody there", DiscoverConfig{Targets: []netip.AddrPort{netip.MustParseAddrPort("127.77.1.2:65001")}, Wait: 20 * time.Millisecond}, 0},
	} {
		found, err := Discover(t.Context(), c.cfg)
		if err != nil || len(found) != c.want {
			t.Errorf("%s: %d found, %v", c.name, len(found), err)
			continue
		}
		if c.want == 1 && (found[0].ID != d.ID() || found[0].Tuners != 3 || found[0].BaseURL != d.BaseURL(at(d)) || found[0].Addr() != at(d)) {
			t.Errorf("%s: %+v", c.name, found[0])
		}
	}
}

func TestControl(t *testing.T) {
	d := startDevice(t, "127.77.1.3", &fakeBackend{}, 2)
	c, err := DialControl(t.Context(), d.ControlAddr(at(d)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, s := range []struct {
		name string // "name" gets, "name=value" sets
		want string // "!" and a part of the error
		key  uint32
	}{
		{"/sys/model", "hdhomerun5_atsc", 0},
		{"/sys/version", "20250506", 0},
		{"/sys/version=1", "!read only", 0},
		{"/sys/nothing", "!unknown getset variable", 0},
		{"/tuner9/status", "!unknown getset variable", 0},
		{"/tuner0/status", "ch=none lock=none ss=0 snq=0 seq=0 bps=0 pps=0", 0},
		{"/tuner0/streaminfo", "none", 0},
		{"/tuner0/channel=auto:533000000", "auto:533000000", 0},
		{"/tuner0/status", "ch=auto:533000000 lock=8vsb ss=83 snq=91 seq=100 bps=0 pps=0", 0},
		{"/tuner0/streaminfo", "3: 5.1 WONE HD\n4: 5.2 WONE SD\ntsid=0x0811\n", 0},
		{"/tuner0/channel=auto:24", "auto:24", 0}, // the same in the channel map
		{"/tuner0/streaminfo", "3: 5.1 WONE HD\n4: 5.2 WONE SD\ntsid=0x0811\n", 0},
		{"/tuner0/program=3", "3", 0},
		{"/tuner0/program=x", "!invalid program", 0},
		{"/tuner0/channel=auto:70000000", "auto:70000000", 0}, // nothing there
		{"/tuner0/status", "ch=auto:70000000 lock=none ss=20 snq=0 seq=0 bps=0 pps=0", 0},
		{"/tuner0/channel=hello", "!invalid channel", 0},
		{"/tuner0/vchannel=5.2", "5.2", 0},
		{"/tuner0/program", "4", 0},
		{"/tuner0/vstatus", "vch=5.2 name=WONE_SD auth=unspecified cci=none cgms=none", 0},
		{"/tuner0/vchannel=99.9", "!invalid virtual channel", 0},
		{"/tuner0/filter=0x30-0x31 0x1ffb", "0x30-0x31 0x1ffb", 0},
		{"/tuner0/filter=0x2000", "!invalid pid filter", 0},
		{"/tuner0/target=udp://nowhere", "!invalid target", 0},
		{"/tuner0/lockkey=77", "127.0.0.1", 0},
		{"/tuner0/channel=none", "!resource locked by 127.0.0.1", 0},
		{"/tuner0/channel=none", "!resource locked by 127.0.0.1", 76},
		{"/tuner0/channel=none", "none", 77},
		{"/tuner0/lockkey=none", "!resource locked", 0},
		{"/tuner0/lockkey=none", "none", 77},
		{"/tuner0/lockkey=77", "127.0.0.1", 0},
		{"/tuner0/lockkey=force", "none", 0},
	} {
		var got string
		var err error
		if name, value, set := strings.Cut(s.name, "="); set {
			got, err = c.Set(t.Context(), name, value, s.key)
		} else {
			got, err = c.Get(t.Context(), name)
		}
		if part, wantErr := strings.CutPrefix(s.want, "!"); wantErr {
			var ce ControlError
			if !errors.As(err, &ce) || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q, %v; want error %q", s.name, got, err, part)
			}
		} else if err != nil || got != s.want {
			t.Errorf("%s: %q, %v; want %q", s.name, got, err, s.want)
		}
	}
}

func TestControlRefusesNoise(t *testing.T) {
	d := startDevice(t, "127.77.1.4", &fakeBackend{}, 1)
	c, err := net.Dial("tcp", d.ControlAddr(at(d)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if b, err := io.ReadAll(c); len(b) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v", b, err)
	}
}

func get(t *testing.T, url string) (int, http.Header, string) {
	t.Helper()
	resp, err := (&Client{}).client().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestHTTP(t *testing.T) {
	d := startDevice(t, "127.77.1.5", &fakeBackend{}, 2)
	base := d.BaseURL(at(d))
	var client Client
	info, err := client.Info(t.Context(), base)
	if err != nil || info.ID != d.ID() || info.Tuners != 2 || info.BaseURL != base || info.LineupURL != base+"/lineup.json" {
		t.Errorf("%+v, %v", info, err)
	}
	lineup, skipped, err := client.Lineup(t.Context(), base)
	if err != nil || skipped != 0 || len(lineup) != 4 {
		t.Fatalf("%+v, %d, %v", lineup, skipped, err)
	}
	if c := lineup[0]; c.Number != "5.1" || c.TSID != 2065 || c.Program != 3 || c.URL != d.StreamURL(at(d), "/auto/v5.1") || !c.HD {
		t.Errorf("%+v", c)
	}
	if _, _, body := get(t, base+"/lineup.json"); strings.Contains(body, "TransportStreamID") {
		t.Errorf("tuning without being asked: %s", body)
	}
	if _, _, body := get(t, base+"/lineup.json?show=unprotected"); strings.Contains(body, "LOCKED") {
		t.Errorf("protected channel: %s", body)
	}
	if _, _, body := get(t, base+"/lineup.xml"); !strings.Contains(body, "<GuideNumber>5.1</GuideNumber><GuideName>WONE HD</GuideName>") {
		t.Errorf("xml: %s", body)
	}
	if _, _, body := get(t, base+"/lineup.m3u"); !strings.Contains(body, ",5.1 WONE HD\nhttp://") {
		t.Errorf("m3u: %s", body)
	}
	if _, _, body := get(t, base+"/lineup_status.json"); !strings.Contains(body, `"ScanInProgress":0`) {
		t.Errorf("status: %s", body)
	}
}

func TestStreams(t *testing.T) {
	b := &fakeBackend{}
	d := startDevice(t, "127.77.1.6", b, 2)
	var client Client
	url := func(path string) string { return d.StreamURL(at(d), path) }
	open := func(path string) (*Stream, Code) {
		s, err := client.Open(t.Context(), url(path))
		code, _ := AsCode(err)
		if err != nil && code == 0 {
			t.Fatalf("%s: %v", path, err)
		}
		return s, code
	}
	for _, c := range []struct {
		path string
		code Code
	}{
		{"/auto/v99.9", CodeUnknownChannel},
		{"/auto/ch533000000-x", CodeUnknownChannel},
		{"/auto/nonsense", CodeUnknownChannel},
		{"/tuner7/v5.1", CodeUnknownChannel},
		{"/auto/v7.1", CodeContentProtection},
		{"/auto/v9.1", CodeTuneFailed},
	} {
		if _, code := open(c.path); code != c.code {
			t.Errorf("%s: %v, want %v", c.path, code, c.code)
		}
	}
	first, code := open("/auto/v5.1")
	if code != 0 || first.Resource != "tuner0" || first.ContentType != "video/mpeg" {
		t.Fatalf("%+v, %v", first, code)
	}
	packet := make([]byte, packetSize)
	if _, err := io.ReadFull(first, packet); err != nil || packet[0] != 0x47 || packet[8] != 3 {
		t.Errorf("%x, %v", packet[:9], err)
	}
	if _, code := open("/tuner0/v5.2"); code != CodeTunerInUse {
		t.Errorf("tuner 0 again: %v", code)
	}
	second, code := open("/tuner1/ch533000000")
	if code != 0 {
		t.Fatal(code)
	}
	if _, err := io.ReadFull(second, packet); err != nil || packet[8] != 0 {
		t.Errorf("whole multiplex: %x, %v", packet[:9], err)
	}
	if _, code := open("/auto/v5.2"); code != CodeAllTunersInUse {
		t.Errorf("third of two tuners: %v", code)
	}
	status, err := client.Status(t.Context(), d.BaseURL(at(d)))
	if err != nil || len(status) != 2 || status[0].Number != "5.1" || status[0].Strength != 83 || status[0].TargetIP == "" {
		t.Errorf("%+v, %v", status, err)
	}
	first.Close()
	second.Close()
	eventually(t, "tuners released", func() bool { return b.open.Load() == 0 })
	status, err = client.Status(t.Context(), d.BaseURL(at(d)))
	if err != nil || status[0].TargetIP != "" || status[1].TargetIP != "" {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestStreamsEndWithTheDevice(t *testing.T) {
	b := &fakeBackend{}
	d, err := NewDevice(Config{Addr: netip.MustParseAddr("127.77.1.10"), HTTPPort: AnyPort, StreamPort: AnyPort, Backend: b})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	s, err := new(Client).Open(t.Context(), d.StreamURL(at(d), "/auto/v5.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel()
	if err := <-done; err != nil || b.open.Load() != 0 {
		t.Errorf("%v, %d streams open", err, b.open.Load())
	}
	if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("client: %v", err)
	}
}

func TestStreamDuration(t *testing.T) {
	d := startDevice(t, "127.77.1.7", &fakeBackend{}, 1)
	start := time.Now()
	status, _, body := get(t, d.StreamURL(at(d), "/auto/v5.1?duration=0.2"))
	if took := time.Since(start); status != 200 || len(body) == 0 || len(body)%packetSize != 0 || took < 200*time.Millisecond {
		t.Errorf("%d, %d bytes in %v", status, len(body), took)
	}
	if status, _, _ := get(t, d.StreamURL(at(d), "/auto/v5.1?duration=x")); status != 400 {
		t.Errorf("duration=x: %d", status)
	}
}

// Debian's hdhomerun_config is what users have; everything it does must work.
func TestDebianConfig(t *testing.T) {
	tool, err := exec.LookPath("hdhomerun_config")
	if err != nil {
		t.Skip("hdhomerun_config (Debian package hdhomerun-config) is not installed")
	}
	b := &fakeBackend{}
	startDevice(t, "127.77.1.8", b, 2)
	run := func(want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
		if err != nil && !strings.HasPrefix(want, "ERROR") || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v\n%s\nwant %q", args, err, out, want)
		}
	}
	const ip = "127.77.1.8"
	run("hdhomerun device 10500009 found at 127.77.1.8", "discover", ip)
	run("Supported configuration options", ip, "get", "help")
	run("hdhomerun5_atsc", ip, "get", "/sys/model")
	run("ch=none lock=none", ip, "get", "/tuner0/status")
	run("ERROR: unknown getset variable", ip, "get", "/nothing")
	run("", ip, "set", "/tuner0/channel", "auto:533000000")
	run("ch=auto:533000000 lock=8vsb ss=83", ip, "get", "/tuner0/status")
	run("4: 5.2 WONE SD", ip, "get", "/tuner0/streaminfo")
	run("", ip, "set", "/tuner0/program", "3")
	run("", ip, "set", "/tuner0/filter", "0x30")

	file := filepath.Join(t.TempDir(), "save.ts")
	save := exec.Command(tool, ip, "save", "/tuner0", file)
	var out strings.Builder
	save.Stdout, save.Stderr = &out, &out
	if err := save.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "saved", func() bool { i, err := os.Stat(file); return err == nil && i.Size() > 200*packetSize })
	save.Process.Signal(syscall.SIGINT)
	save.Wait() // it exits 1 after a good save too
	if !strings.Contains(out.String(), "0 overflow errors, 0 network errors, 0 transport errors, 0 sequence errors") {
		t.Errorf("save: %s", &out)
	}
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for p := saved; len(p) >= packetSize; p = p[packetSize:] {
		if p[0] != 0x47 || p[2] != 0x30 {
			t.Fatalf("packet % x passed the filter", p[:5])
		}
	}
	eventually(t, "tuner released", func() bool { return b.open.Load() == 0 })
	run("none", ip, "get", "/tuner0/target")
}

func TestTargetThatLeavesReleasesTheTuner(t *testing.T) {
	b := &fakeBackend{}
	d := startDevice(t, "127.77.1.9", b, 1)
	c, err := DialControl(t.Context(), d.ControlAddr(at(d)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := "udp://" + sink.LocalAddr().String()
	for _, s := range [][2]string{{"/tuner0/vchannel", "5.1"}, {"/tuner0/target", target}} {
		if _, err := c.Set(t.Context(), s[0], s[1], 0); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 4096)
	if n, _, err := sink.ReadFrom(buf); n != 7*packetSize || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := (&Client{}).Open(t.Context(), d.StreamURL(at(d), "/auto/v5.1")); !errors.Is(err, CodeAllTunersInUse) {
		t.Errorf("while a target has the only tuner: %v", err)
	}
	sink.Close()
	eventually(t, "tuner released", func() bool { return b.open.Load() == 0 })
	if v, err := c.Get(t.Context(), "/tuner0/target"); err != nil || v != "none" {
		t.Errorf("target %q, %v", v, err)
	}
}
