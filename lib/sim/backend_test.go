package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/ts"
)

// device runs an HDHomeRun on an address of its own until the test ends.
func device(t *testing.T, address string, b *Backend) (*hdhr.Device, netip.Addr) {
	t.Helper()
	addr := netip.MustParseAddr(address)
	d, err := hdhr.NewDevice(hdhr.Config{Addr: addr, HTTPPort: hdhr.AnyPort, StreamPort: hdhr.AnyPort, Backend: b})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Listen(t.Context()); err != nil {
		t.Skipf("ports of the device: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d, addr
}

func TestBackendRefuses(t *testing.T) {
	b := &Backend{Broadcast: &Broadcast{}}
	byNumber := map[string]hdhr.Channel{}
	for _, c := range b.Lineup() {
		byNumber[c.Number] = c
	}
	for number, want := range map[string]error{"7.1": hdhr.CodeContentProtection, "7.3": hdhr.CodeNoVideoData, "5.1": nil, "103": nil} {
		c := byNumber[number]
		r, err := b.Tune(t.Context(), hdhr.Selection{Frequency: c.Frequency, Program: c.Program, Channel: c})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", number, err, want)
		}
		if err == nil {
			r.Close()
		}
	}
	if _, err := b.Tune(t.Context(), hdhr.Selection{Frequency: 1}); !errors.Is(err, hdhr.CodeTuneFailed) {
		t.Errorf("nothing is at 1 Hz: %v", err)
	}
	if s := b.Signal(533_000_000); s.Lock != "8vsb" || s.Strength < 50 {
		t.Errorf("signal %+v", s)
	}
	if s := b.Signal(1); s.Lock != "none" || s.Strength != 0 {
		t.Errorf("signal where nothing is: %+v", s)
	}
}

// Two devices, two clients: packets overlap byte for byte.
func TestTwoDevicesReceiveOneBroadcast(t *testing.T) {
	t.Parallel()
	start := time.Now()
	var streams [2][]byte
	for i, address := range []string{"127.0.7.1", "127.0.7.2"} {
		d, addr := device(t, address, &Backend{Broadcast: &Broadcast{}})
		resp, err := http.Get(d.StreamURL(addr, "/auto/v5.1?duration=2"))
		if err != nil {
			t.Fatal(err)
		}
		if streams[i], err = io.ReadAll(io.LimitReader(resp.Body, 1000*ts.PacketSize)); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	// The second has joined later; both have a piece of what was broadcast since the start.
	m := DefaultMuxes()[0]
	all := readAll(t, m.Reader(start, time.Now(), 3))
	for i, b := range streams {
		if len(b) != 1000*ts.PacketSize {
			t.Fatalf("device %d sends %d bytes", i, len(b))
		}
		if !bytes.Contains(all, b) {
			t.Errorf("device %d sends something else than the broadcast", i)
		}
	}
}

func TestHDHomeRunConfigSaves(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("hdhomerun_config")
	if err != nil {
		t.Skip("hdhomerun_config is not installed")
	}
	_, addr := device(t, "127.0.7.3", &Backend{Broadcast: &Broadcast{}})
	run := func(args ...string) string {
		out, err := exec.Command(tool, append([]string{addr.String()}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("set", "/tuner0/channel", "auto:522000000")
	run("set", "/tuner0/program", "28006")
	if s := run("get", "/tuner0/status"); !strings.Contains(s, "lock=t8qam64") {
		t.Errorf("status %s", s)
	}
	file := filepath.Join(t.TempDir(), "saved.ts")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, addr.String(), "save", "/tuner0", file)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, _ := cmd.CombinedOutput()
	f, err := OpenFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer f.Close()
	if f.Duration() < 2*time.Second {
		t.Errorf("%s saved in 4 s", f.Duration())
	}
	f.Once = true
	var cc ts.Continuity
	for i, p := range packets(readAll(t, f.Reader(time.Now(), time.Time{}))) {
		if e := cc.Check(p); e != ts.Ok {
			t.Fatalf("packet %d of PID %#x: %s\n%s", i, p.PID(), e, out)
		}
	}
}
