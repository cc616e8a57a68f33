package tune

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

var since = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

// broadcast is so many bytes of a multiplex of the simulated antenna; program 0 is all of it.
func broadcast(t testing.TB, mux int, program uint16, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(sim.DefaultMuxes()[mux].Reader(since, time.Time{}, program), b); err != nil {
		t.Fatal(err)
	}
	return b
}

func address(t testing.TB, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// records parses what --clock wrote.
func parseRecords(t *testing.T, b []byte) (out []clock.Record) {
	t.Helper()
	rr := clock.NewRecordReader(bytes.NewReader(b))
	for {
		r, err := rr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
}

func TestBytesAreNeverChanged(t *testing.T) {
	stream := broadcast(t, 0, 0, 188*5000)
	for _, c := range []struct {
		name string
		in   []byte
	}{
		{"a stream", stream},
		{"one that is cut", stream[:len(stream)-77]},
		{"one with garbage in front", append([]byte("garbage"), stream...)},
		{"one with a hole", append(bytes.Clone(stream[:100_000]), stream[150_001:]...)},
		{"a single packet", stream[:188]},
	} {
		for kind, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "with late errors": iotest.DataErrReader,
		} {
			var out, clk bytes.Buffer
			cfg := Config{Address: address(t, "-"), Stdin: wrap(bytes.NewReader(c.in)), Clock: &clk}
			if err := Run(t.Context(), cfg, &out); err != nil || !bytes.Equal(out.Bytes(), c.in) {
				t.Errorf("%s, %s: %d of %d bytes, %v", c.name, kind, out.Len(), len(c.in), err)
			}
		}
	}
}

// The clock of a program is what sim says it is: PCR = Unix time · 27 MHz + offset, modulo the wrap.
func TestClockRecords(t *testing.T) {
	for _, c := range []struct {
		name     string
		mux      int
		program  uint16
		system   clock.System
		tsid     int
		onid     int
		programs map[int]string
		offset   time.Duration
	}{
		{"ATSC, whole", 0, 0, clock.ATSC, 2065, -1, map[int]string{3: "EC-MPEG 5.1", 4: "EC-H264 5.2"}, 0},
		{"ATSC, one program", 0, 4, clock.ATSC, 2065, -1, map[int]string{4: "EC-H264 5.2"}, 0},
		{"DVB", 1, 28006, clock.DVB, 1041, 8468, map[int]string{28006: "EC Eins "}, -5 * time.Hour},
	} {
		var clk bytes.Buffer
		stream := broadcast(t, c.mux, c.program, 25_000_000)
		cfg := Config{Address: address(t, "-"), Stdin: bytes.NewReader(stream), Clock: &clk}
		if err := Run(t.Context(), cfg, io.Discard); err != nil {
			t.Fatal(err)
		}
		records := parseRecords(t, clk.Bytes())
		if len(records) < 2 {
			t.Errorf("%s: %d records", c.name, len(records))
		}
		for i, r := range records {
			if r.System != c.system || r.TSID != c.tsid || r.ONID != c.onid && r.ONID != -1 {
				t.Errorf("%s: %+v", c.name, r)
			}
			if i > len(records)/2 && (r.ONID != c.onid || c.programs[r.Program] != r.Name+" "+r.Channel) {
				t.Errorf("%s: %+v, want %q", c.name, r, c.programs[r.Program])
			}
			want := clock.TicksAt(r.UTC.Add(c.offset)).PTS().PCR()
			if off := r.PCR.Sub(want).Duration(); off < -2*time.Second || off > 2*time.Second {
				t.Errorf("%s: %v is %v off", c.name, r.UTC, off)
			}
		}
	}
}

// A real broadcast, received badly: its clock shows through the damage.
func TestClockOfARealBroadcast(t *testing.T) {
	captures := os.Getenv("EC_CAPTURES")
	if captures == "" {
		t.Skip("EC_CAPTURES does not name a folder with captures")
	}
	file := filepath.Join(captures, "dvbt-arte-hd-tot-lossy.ts")
	want, err := os.ReadFile(file)
	if err != nil {
		t.Skip(err)
	}
	var clk, out bytes.Buffer
	if err := Run(t.Context(), Config{Address: address(t, file), Clock: &clk}, &out); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%d of %d bytes, %v", out.Len(), len(want), err)
	}
	records := parseRecords(t, clk.Bytes())
	if len(records) < 8 {
		t.Errorf("%d records of 9 time tables", len(records))
	}
	first := time.Date(2019, 1, 22, 12, 51, 9, 0, time.UTC)
	for _, r := range records {
		if at := r.UTC.Sub(first); at < 0 || at > 16*time.Second {
			t.Errorf("%v", r.UTC)
		}
		// Time tables say whole seconds, late by some hundred milliseconds.
		if off := r.PCR.Sub(records[0].PCR).Duration() - r.UTC.Sub(first); off < -2*time.Second || off > 2*time.Second {
			t.Errorf("%v: the clock is %v off", r.UTC, off)
		}
	}
}

// slowWriter blocks for ever.
type slowWriter struct{ block chan struct{} }

func (w slowWriter) Write(b []byte) (int, error) { <-w.block; return len(b), nil }

func TestClockFileNeverHoldsTheCopyUp(t *testing.T) {
	w := slowWriter{make(chan struct{})}
	rec := startRecords(w, slog.New(slog.DiscardHandler))
	for range 5000 {
		rec.put(clock.Record{UTC: since, System: clock.ATSC})
	}
	close(w.block)
	rec.stop()
}

func TestLineupSpeaksForTheTunedProgram(t *testing.T) {
	tp := newTap()
	var got []clock.Record
	tp.record = func(r clock.Record) { got = append(got, r) }
	tp.connect(connection{service: service{name: "WONE", channel: "5.1", tuned: true, program: 3, tsid: 999, onid: -1}})
	tp.feed(broadcast(t, 0, 0, 5_000_000))
	for _, r := range got {
		if r.Program == 3 && (r.TSID != 999 || r.Name != "WONE") || r.Program == 4 && r.TSID != 2065 {
			t.Errorf("%+v", r)
		}
	}
	if len(got) < 2 {
		t.Errorf("%d records", len(got))
	}
}

// A PAT may come in several sections; all of its programs have a clock, and none that a whole new PAT leaves out.
func TestPATInSections(t *testing.T) {
	var got []string
	tp := newTap()
	tp.record = func(r clock.Record) { got = append(got, fmt.Sprint(r.Program)) }
	cc := map[ts.PID]*uint8{}
	table := func(pid ts.PID, x interface{ Append([]byte) []byte }) {
		if cc[pid] == nil {
			cc[pid] = new(uint8)
		}
		tp.feed(psi.AppendPackets(nil, pid, cc[pid], x.Append(nil)))
	}
	pat := func(version, number, last uint8, programs ...uint16) {
		p := psi.PAT{TSID: 1, Version: version, Number: number, LastNumber: last}
		for _, n := range programs {
			p.Programs = append(p.Programs, psi.Program{Number: n, PID: 0x30})
		}
		table(ts.PIDPAT, p)
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	records := func() string {
		for _, n := range []uint16{3, 7} {
			table(0x30, psi.PMT{Program: n, PCRPID: 0x31})
		}
		var p ts.Packet
		p.Fill(&ts.Header{PID: 0x31, HasPCR: true, PCR: 27_000_000}, nil)
		tp.feed(p[:])
		got, at = nil, at.Add(time.Second)
		table(ts.PIDPSIP, psi.STTAt(at, 18))
		return strings.Join(got, " ")
	}
	for _, c := range []struct {
		name string
		send func()
		want string
	}{
		{"the first of two", func() { pat(0, 0, 1, 7) }, ""},
		{"the second", func() { pat(0, 1, 1, 3) }, "3 7"},
		{"repeated", func() { pat(0, 0, 1, 7); pat(0, 1, 1, 3) }, "3 7"},
		{"a new one, half", func() { pat(1, 0, 1, 7) }, "3 7"},
		{"the other half, empty", func() { pat(1, 1, 1) }, "7"},
		{"A, B, A: B", func() { pat(2, 0, 0, 3) }, "3"},
		{"A, B, A: A of B's version", func() { pat(2, 0, 0, 7) }, "7"},
		{"a device counts versions", func() { pat(3, 0, 0, 7); pat(4, 0, 0, 7) }, "7"},
	} {
		c.send()
		if got := records(); got != c.want {
			t.Errorf("%s: records of %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTapCountsDamage(t *testing.T) {
	b := broadcast(t, 0, 3, 188*1000)
	hurt := append(bytes.Clone(b[:188*500]), b[188*503:]...)
	hurt[188*100+1] |= 0x80
	tp := newTap()
	tp.feed(hurt)
	// The packet with the error is taken for lost by its PID too: its counter can not be trusted.
	if lost, tei := tp.lost.Load(), tp.tei.Load(); tei != 1 || lost < 3 || lost > 4 {
		t.Errorf("lost %d, TEI %d", lost, tei)
	}
}

func TestPaceTakesAsLongAsTheStream(t *testing.T) {
	stream := broadcast(t, 0, 3, 188*20000)
	file := filepath.Join(t.TempDir(), "a.ts")
	if err := os.WriteFile(file, stream, 0o666); err != nil {
		t.Fatal(err)
	}
	var first, last clock.PCR
	n := 0
	m := framer{stride: 188}
	m.feed(stream, func(p *ts.Packet) bool {
		if v, ok := p.PCR(); ok {
			if n++; n == 1 {
				first = clock.PCR(v)
			}
			last = clock.PCR(v)
		}
		return true
	})
	want := last.Sub(first).Duration()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var out bytes.Buffer
		if err := Run(t.Context(), Config{Address: address(t, file), Pace: true}, &out); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < want-time.Millisecond || took > want+time.Millisecond || !bytes.Equal(out.Bytes(), stream) {
			t.Errorf("%v for %v of stream; %d of %d bytes", took, want, out.Len(), len(stream))
		}
	})
}

// scripted is a source whose connections are foreseen.
type scripted struct {
	mu    sync.Mutex
	opens int
	steps []func() (io.ReadCloser, error)
}

func (s *scripted) live() bool { return true }
func (s *scripted) open(context.Context) (connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
	step := s.steps[min(s.opens, len(s.steps))-1]
	r, err := step()
	return connection{ReadCloser: r}, err
}

func data(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func fails(err error) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return nil, err }
}

// silentConn never delivers; closing it ends the wait.
type silentConn struct {
	once sync.Once
	done chan struct{}
}

func (c *silentConn) Read([]byte) (int, error) { <-c.done; return 0, net.ErrClosed }
func (c *silentConn) Close() error             { c.once.Do(func() { close(c.done) }); return nil }

func silent() (io.ReadCloser, error) { return &silentConn{done: make(chan struct{})}, nil }

func TestRetryRules(t *testing.T) {
	tenPackets := packets(10, 188)
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		name  string
		cfg   Config
		steps []func() (io.ReadCloser, error)
		opens int // at least; exactly where want is not nil
		bytes int
		want  error
		code  int
	}{
		{"busy, then free", Config{Retry: time.Minute}, []func() (io.ReadCloser, error){
			fails(hdhr.CodeAllTunersInUse), fails(hdhr.CodeSystemBusy), data(tenPackets)}, 3, 1880, errEnded, 69},
		{"busy for longer than the wait", Config{Retry: time.Minute}, []func() (io.ReadCloser, error){
			fails(hdhr.CodeAllTunersInUse)}, 8, 0, hdhr.CodeAllTunersInUse, 75},
		{"busy without patience", Config{}, []func() (io.ReadCloser, error){fails(hdhr.CodeTunerInUse)}, 1, 0, hdhr.CodeTunerInUse, 75},
		{"weak for longer than the wait", Config{Retry: time.Minute}, []func() (io.ReadCloser, error){
			fails(hdhr.CodeNoVideoData)}, 3, 0, hdhr.CodeNoVideoData, 69},
		{"unknown channel", Config{Retry: time.Minute, Reconnect: true}, []func() (io.ReadCloser, error){
			fails(hdhr.CodeUnknownChannel)}, 1, 0, hdhr.CodeUnknownChannel, 69},
		{"protected", Config{Retry: time.Minute, Reconnect: true}, []func() (io.ReadCloser, error){
			fails(hdhr.CodeContentProtection)}, 1, 0, hdhr.CodeContentProtection, 77},
		{"nobody there at first", Config{Retry: time.Minute, Reconnect: true}, []func() (io.ReadCloser, error){
			fails(refused)}, 1, 0, syscall.ECONNREFUSED, 69},
		{"gone for a while", Config{Reconnect: true, Duration: time.Hour}, []func() (io.ReadCloser, error){
			data(tenPackets), fails(refused), fails(hdhr.CodeNoVideoData), fails(hdhr.CodeAllTunersInUse), data(tenPackets), silent},
			5, 3760, nil, 0},
		{"gone, and no reconnecting", Config{}, []func() (io.ReadCloser, error){data(tenPackets)}, 1, 1880, errEnded, 69},
		{"becomes protected", Config{Reconnect: true}, []func() (io.ReadCloser, error){
			data(tenPackets), fails(hdhr.CodeContentProtection)}, 2, 1880, hdhr.CodeContentProtection, 77},
		{"a packet that is cut", Config{Reconnect: true, Duration: time.Hour}, []func() (io.ReadCloser, error){
			data(tenPackets[:1000]), data(tenPackets), silent}, 2, 5*188 + 1880, nil, 0},
		{"silent from the start", Config{Stall: 6 * time.Second}, []func() (io.ReadCloser, error){silent}, 1, 0, errStall, 69},
		{"silent later", Config{Stall: 6 * time.Second, Reconnect: true, Duration: time.Hour}, []func() (io.ReadCloser, error){
			func() (io.ReadCloser, error) {
				s, _ := silent()
				return struct {
					io.Reader
					io.Closer
				}{io.MultiReader(bytes.NewReader(tenPackets), s), s}, nil
			}}, 100, -1, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &scripted{steps: c.steps}
				var out bytes.Buffer
				cfg := c.cfg
				cfg.Log, cfg.backoff = slog.New(slog.DiscardHandler), backoff
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				r := &receiver{cfg: cfg, src: src, w: &out, buf: make([]byte, 2*blockSize), cancel: cancel, tap: newTap()}
				err := r.run(ctx)
				if errors.Is(context.Cause(ctx), errDuration) {
					err = nil
				}
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if e, ok := err.(interface{ ExitCode() int }); c.code != 0 && (!ok || e.ExitCode() != c.code) {
					t.Errorf("exit code of %v (%T), want %d", err, err, c.code)
				}
				if src.opens < c.opens || c.want != nil && c.opens < 3 && src.opens != c.opens {
					t.Errorf("%d connections, want %d", src.opens, c.opens)
				}
				if c.bytes >= 0 && out.Len() != c.bytes {
					t.Errorf("%d bytes, want %d", out.Len(), c.bytes)
				}
				if out.Len()%188 != 0 {
					t.Errorf("%d bytes are not whole packets", out.Len())
				}
			})
		})
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	for attempt := range 40 {
		for _, slow := range []bool{false, true} {
			limit, least := 10*time.Second, 250*time.Millisecond
			if slow {
				limit, least = time.Minute, 2500*time.Millisecond
			}
			if d := backoff(attempt, slow); d < least || d > limit {
				t.Errorf("attempt %d, slow %v: %v", attempt, slow, d)
			}
		}
	}
}

func TestGapIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ten := packets(10, 188)
		src := &scripted{steps: []func() (io.ReadCloser, error){data(ten), data(ten), silent}}
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		r := &receiver{cfg: Config{Reconnect: true, Duration: time.Minute, Log: slog.New(slog.NewTextHandler(&log, nil)),
			backoff: func(int, bool) time.Duration { return 2500 * time.Millisecond }}, src: src, w: io.Discard,
			buf: make([]byte, 2*blockSize), cancel: cancel}
		r.run(ctx)
		if !strings.Contains(log.String(), "msg=gap source=\"\" seconds=2.5") {
			t.Errorf("%s", &log)
		}
	})
}

// fullDisk is a file that takes only so many bytes.
type fullDisk struct {
	*os.File
	room int
}

func (f *fullDisk) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	f.room -= n
	k, err := f.File.Write(b[:n])
	if err == nil && n < len(b) {
		err = &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return k, err
}

func TestDiskFullKeepsWholePackets(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "full.ts"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stream := packets(100, 188)
	src := &scripted{steps: []func() (io.ReadCloser, error){data(stream)}}
	r := &receiver{cfg: Config{Reconnect: true, Log: slog.New(slog.DiscardHandler), backoff: backoff}, src: src,
		w: &fullDisk{f, 10_000}, buf: make([]byte, 2*blockSize)}
	if err := r.run(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(f.Name()); !bytes.Equal(b, stream[:10_000/188*188]) {
		t.Errorf("%d bytes stay", len(b))
	}
}

func TestHTTPWithALength(t *testing.T) {
	stream := broadcast(t, 0, 3, 188*2000)
	cut := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(stream)))
		if cut {
			w.Write(stream[:len(stream)/2])
			return
		}
		w.Write(stream)
	}))
	defer srv.Close()
	var out bytes.Buffer
	if err := Run(t.Context(), Config{Address: address(t, srv.URL), Reconnect: true}, &out); err != nil || !bytes.Equal(out.Bytes(), stream) {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
	// Broken midway it is an error, and not begun again from the start.
	cut = true
	out.Reset()
	err := Run(t.Context(), Config{Address: address(t, srv.URL), Reconnect: true}, &out)
	if !errors.Is(err, io.ErrUnexpectedEOF) || out.Len() > len(stream)/2 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

func TestHTTPWithoutALengthEndsWhereTheServerSaysSo(t *testing.T) {
	stream := broadcast(t, 0, 3, 188*100+50)
	abort := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(stream)
		w.(http.Flusher).Flush()
		if abort {
			abort = false
			panic(http.ErrAbortHandler)
		}
	}))
	defer srv.Close()
	var out bytes.Buffer
	cfg := Config{Address: address(t, srv.URL), Reconnect: true, backoff: func(int, bool) time.Duration { return 0 }}
	if err := Run(t.Context(), cfg, &out); err != nil || out.Len() != 188*100+len(stream) {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

func TestWebPageIsNoStream(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush() // no length
		io.WriteString(w, "<html>sign in</html>")
	}))
	defer srv.Close()
	var out bytes.Buffer
	err := Run(t.Context(), Config{Address: address(t, srv.URL), Reconnect: true, Retry: time.Minute}, &out)
	if !errors.Is(err, ts.ErrNotTS) || out.Len() != 0 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

func TestNextDeviceWhenOneIsBusy(t *testing.T) {
	stream := broadcast(t, 0, 3, 188*100)
	busyDevice := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-HDHomeRun-Error", hdhr.CodeAllTunersInUse.String())
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer busyDevice.Close()
	freeDevice := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(stream) }))
	defer freeDevice.Close()
	src := &channelSource{addr: address(t, "5.1"), log: slog.New(slog.DiscardHandler)}
	for _, srv := range []*httptest.Server{busyDevice, freeDevice} {
		src.candidates = append(src.candidates, candidate{srv.URL, hdhr.Channel{Number: "5.1", URL: srv.URL}})
	}
	c, err := src.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, stream) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	src.candidates = src.candidates[:1]
	if _, err := src.open(t.Context()); !errors.Is(err, hdhr.CodeAllTunersInUse) || len(src.candidates) != 1 {
		t.Errorf("all busy: %v", err)
	}
}

func rtp(seq uint16, first byte, header []byte, body []byte, padding int) []byte {
	d := make([]byte, 12)
	d[0], d[1] = first, 33
	binary.BigEndian.PutUint16(d[2:], seq)
	d = append(append(d, header...), body...)
	if padding > 0 {
		d = append(d, make([]byte, padding-1)...)
		d = append(d, byte(padding))
	}
	return d
}

func TestDatagrams(t *testing.T) {
	seven := packets(7, 188)
	for _, c := range []struct {
		name string
		in   [][]byte
		n    int // datagrams' worth of packets
		want losses
	}{
		{"plain", [][]byte{seven, seven}, 2, losses{}},
		{"RTP", [][]byte{rtp(65535, 0x80, nil, seven, 0), rtp(0, 0x80, nil, seven, 0)}, 2, losses{}},
		{"RTP with sources, extension and padding", [][]byte{
			rtp(9, 0x82, make([]byte, 8), seven, 0), rtp(10, 0x90, []byte{0, 1, 0, 1, 9, 9, 9, 9}, seven, 0), rtp(11, 0xa0, nil, seven, 4)}, 3, losses{}},
		{"three lost", [][]byte{rtp(1, 0x80, nil, seven, 0), rtp(5, 0x80, nil, seven, 0)}, 2, losses{datagrams: 3}},
		{"one late", [][]byte{rtp(1, 0x80, nil, seven, 0), rtp(3, 0x80, nil, seven, 0), rtp(2, 0x80, nil, seven, 0)}, 3, losses{datagrams: 1, reordered: 1}},
		{"noise", [][]byte{{}, {1, 2, 3}, seven[:100], rtp(1, 0x80, nil, seven[:100], 0), rtp(1, 0xbf, nil, nil, 200), seven}, 1, losses{malformed: 5}},
	} {
		u := new(udpReader)
		var out []byte
		for _, d := range c.in {
			out = append(out, u.payload(d)...)
		}
		if got := u.losses(); got != c.want || len(out) != c.n*len(seven) || !bytes.Equal(out[:len(seven)], seven) {
			t.Errorf("%s: %+v, %d bytes", c.name, got, len(out))
		}
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add(rtp(1, 0xbf, []byte{0, 1, 0, 1}, packets(1, 188), 3))
	f.Fuzz(func(t *testing.T, d []byte) {
		if b := new(udpReader).payload(d); len(b)%188 != 0 {
			t.Errorf("%d bytes", len(b))
		}
	})
}

func TestRingKeepsTheOrder(t *testing.T) {
	in := broadcast(t, 0, 3, 188*3000)
	r := newRing(1000)
	go func() {
		for b := in; len(b) > 0; b = b[min(777, len(b)):] {
			r.Write(b[:min(777, len(b))])
		}
		r.close(io.EOF)
	}()
	if out, err := io.ReadAll(r); err != nil || !bytes.Equal(out, in) {
		t.Errorf("%d of %d bytes, %v", len(out), len(in), err)
	}
}

func TestRingLetsAWaitingWriterGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(10)
		done := make(chan error)
		go func() { _, err := r.Write(make([]byte, 11)); done <- err }()
		synctest.Wait()
		r.close(net.ErrClosed)
		if err := <-done; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%v", err)
		}
		if n, err := r.Read(make([]byte, 20)); n != 10 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestDurationEndsASilentStdin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		ten := packets(10, 188)
		go w.Write(ten)
		var out bytes.Buffer
		start := time.Now()
		if err := Run(t.Context(), Config{Address: address(t, "-"), Stdin: r, Duration: time.Minute}, &out); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Minute || !bytes.Equal(out.Bytes(), ten) {
			t.Errorf("%v, %d bytes", took, out.Len())
		}
	})
}

func TestSenderThatStartsLateIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &scripted{steps: []func() (io.ReadCloser, error){silent, silent, data(packets(1, 188))}}
		r := &receiver{cfg: Config{Retry: time.Minute, Stall: 6 * time.Second, Log: slog.New(slog.DiscardHandler), backoff: backoff},
			src: src, w: io.Discard, buf: make([]byte, 2*blockSize)}
		if err := r.run(t.Context()); !errors.Is(err, errEnded) || src.opens != 3 {
			t.Errorf("%d connections, %v", src.opens, err)
		}
	})
}

func TestStatusLine(t *testing.T) {
	r := &receiver{cfg: Config{Address: address(t, "5.1")}, tap: newTap()}
	r.tap.lost.Store(3)
	r.tap.pastLost.Store(4)
	r.tap.gaps.Store(1)
	c := connection{service: service{name: "WONE"}, report: func() losses { return losses{datagrams: 9} }}
	got := r.statusLine(c, "ss 80% snq 91%", 12.345, 3723*time.Second)
	if want := "5.1 WONE  ss 80% snq 91%  12.35 Mbit/s  lost 7 TEI 0  datagrams lost 9  gaps 1  1:02:03"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
