package chop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

// record returns the first time table of a stream as a clock record.
func record(t *testing.T, data []byte, id chop.Identity) clock.Record {
	t.Helper()
	var a psi.Assembler
	rec := clock.Record{System: clock.System(id.System), TSID: int(id.TSID), ONID: int(id.ONID), Program: int(id.Program)}
	if id.System == "atsc" {
		rec.ONID = -1
	}
	var pcr uint64
	for ; len(data) >= ts.PacketSize && rec.UTC.IsZero(); data = data[ts.PacketSize:] {
		p := (*ts.Packet)(data)
		if v, ok := p.PCR(); ok {
			pcr = v
		}
		if p.PID() == ts.PIDTDT || p.PID() == ts.PIDPSIP {
			a.Feed(p, func(section []byte) {
				if utc, ok := psi.TableUTC(section); ok {
					rec.UTC, rec.PCR = utc, clock.PCR(pcr)
				}
			})
		}
	}
	if rec.UTC.IsZero() {
		t.Fatal("no time table")
	}
	return rec
}

// TestClockFile: a stream that lost its tables is cut and named as it was with them.
func TestClockFile(t *testing.T) {
	for _, number := range []string{"5.1", "101"} {
		m, s := mux(t, number)
		data, err := io.ReadAll(m.Reader(epoch, epoch.Add(time.Minute), s.Program))
		if err != nil {
			t.Fatal(err)
		}
		with := receive(t, chop.Config{}, bytes.NewReader(data))
		id := chop.Identity{System: m.Standard.String(), ONID: m.ONID, TSID: m.TSID, Program: s.Program}
		file := filepath.Join(t.TempDir(), "clock")
		rec := record(t, data, id)
		early := rec // heard before the tables that name the broadcast
		early.TSID, early.ONID = -1, -1
		if err := os.WriteFile(file, rec.Append(early.Append(nil)), 0o666); err != nil {
			t.Fatal(err)
		}
		bare := func() io.Reader { return sim.Impair{StripSI: true}.Reader(bytes.NewReader(data)) }
		without := receive(t, chop.Config{Clock: chop.ClockFile, ClockFile: file, Verbatim: true}, bare())
		if shared := agree(t, with, without); shared != len(with.chunks) || shared < 20 {
			t.Errorf("%s: %d of %d chunks shared", number, shared, len(with.chunks))
		}
		rendition := receive(t, chop.Config{Clock: chop.ClockFile, ClockFile: file}, bare())
		for key := range rendition.chunks {
			if !strings.Contains(key, "--ts_filtered_t") {
				t.Errorf("%s: %s is not named as a rendition", number, key)
			}
		}
		host := receive(t, chop.Config{Clock: chop.ClockHost, Now: func() time.Time { return epoch.Add(-3 * time.Hour) }, Broadcast: id}, bare())
		for key := range host.chunks {
			// Hours off, it still picks the same k; only the timeline tells that it was off.
			group := key[strings.LastIndexByte(key, ' '):]
			found := key[strings.LastIndexByte(key, ' ')+1:] < fmt.Sprint(with.manifest[len(with.manifest)-len(with.chunks)].Group)
			for want := range with.chunks {
				found = found || strings.HasSuffix(want, group)
			}
			if !found {
				t.Errorf("%s: group%s is nobody else's", number, group)
			}
		}
	}
}

// TestClockFileBegunAnew: in a pipeline the file is still yesterday's when ec-chop opens it.
func TestClockFileBegunAnew(t *testing.T) {
	m, s := mux(t, "5.1")
	data, err := io.ReadAll(m.Reader(epoch, epoch.Add(20*time.Second), s.Program))
	if err != nil {
		t.Fatal(err)
	}
	with := receive(t, chop.Config{}, bytes.NewReader(data))
	id := chop.Identity{System: "atsc", TSID: m.TSID, Program: s.Program}
	rec := record(t, data, id)
	stale := rec
	stale.UTC = stale.UTC.Add(-40 * time.Hour) // another k
	for name, renew := range map[string]func(file string, line []byte) error{
		"truncated": func(file string, line []byte) error { return os.WriteFile(file, line, 0o666) },
		"replaced": func(file string, line []byte) error {
			return errors.Join(os.WriteFile(file+".new", line, 0o666), os.Rename(file+".new", file))
		},
	} {
		file := filepath.Join(t.TempDir(), "clock")
		if err := os.WriteFile(file, stale.Append(stale.Append(nil)), 0o666); err != nil {
			t.Fatal(err)
		}
		bare := sim.Impair{StripSI: true}.Reader(bytes.NewReader(data))
		first := true
		r := receive(t, chop.Config{Clock: chop.ClockFile, ClockFile: file, Verbatim: true}, readerFunc(func(b []byte) (int, error) {
			if first {
				first = false
				if err := renew(file, rec.Append(nil)); err != nil {
					t.Error(err)
				}
			}
			return bare.Read(b)
		}))
		if shared := agree(t, with, r); shared < 5 {
			t.Errorf("%s: %d chunks shared of %d", name, shared, len(with.chunks))
		}
	}
}

// TestClockFilePrograms: records of several programs have several clocks.
func TestClockFilePrograms(t *testing.T) {
	m, s := mux(t, "5.1")
	data, err := io.ReadAll(m.Reader(epoch, epoch.Add(20*time.Second), s.Program))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		programs []int
		broken   bool
	}{{[]int{3, 4}, false}, {[]int{9}, false}, {[]int{4, 9}, true}} {
		var lines []byte
		for _, p := range c.programs {
			rec := record(t, data, chop.Identity{System: "atsc", TSID: m.TSID, Program: uint16(p)})
			if p == 4 {
				rec.PCR = rec.PCR.Add(9 * 3600 * 27_000_000)
			}
			lines = rec.Append(lines)
		}
		file := filepath.Join(t.TempDir(), "clock")
		if err := os.WriteFile(file, lines, 0o666); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_, err := chop.Run(context.Background(), chop.Config{Clock: chop.ClockFile, ClockFile: file},
			sim.Impair{StripSI: true}.Reader(bytes.NewReader(data)), object.NewWriter(&out))
		var input *chop.InputError
		if errors.As(err, &input) != c.broken {
			t.Errorf("programs %v: %v", c.programs, err)
		}
		for _, want := range []string{fmt.Sprintf(`"broadcast":"ec-atsc-2065-%d"`, c.programs[0]), `"broadcastTrack":"ts_filtered_t13"`} {
			if !c.broken && !bytes.Contains(out.Bytes(), []byte(want)) {
				t.Errorf("programs %v: no %s", c.programs, want)
			}
		}
	}
}

func TestClockFileErrors(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("{}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := chop.Run(context.Background(), chop.Config{Clock: chop.ClockFile, ClockFile: bad}, strings.NewReader(""), object.NewWriter(io.Discard))
	if !errors.Is(err, clock.ErrRecord) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = chop.Run(ctx, chop.Config{Clock: chop.ClockFile, ClockFile: filepath.Join(dir, "none")}, strings.NewReader(""), object.NewWriter(io.Discard))
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestEveryChunkIsInTheManifest: what was written and what the manifest says are the same, chunk by chunk.
func TestEveryChunkIsInTheManifest(t *testing.T) {
	m, s := mux(t, "5.2")
	m.Jump = sim.Jump{Every: 10 * time.Second, By: -time.Minute}
	for _, promote := range []chop.Promotion{chop.PromoteChunk, chop.PromotePart} {
		r := receive(t, chop.Config{Promote: promote}, sim.Impair{Loss: 1.0 / 2000}.Reader(m.Reader(epoch, epoch.Add(2*time.Minute), s.Program)))
		parts := 0
		for key := range r.objects {
			if strings.Contains(key, "--ts") {
				parts++
			}
		}
		listed := 0
		next := map[string]int{} // a chunk that goes on after a reset continues the ids
		for _, e := range r.manifest {
			if e.Reason == catalog.ReasonDiscontinuity {
				listed += e.Objects - next["last"]
			} else {
				listed += e.Objects
			}
			next["last"] = e.Objects
			if (e.Scope == catalog.ScopeBroadcast) != (e.Reason == "") {
				t.Errorf("group %d: %s, reason %q", e.Group, e.Scope, e.Reason)
			}
		}
		if parts != listed {
			t.Errorf("%d parts written, %d listed", parts, listed)
		}
	}
}

// failing is a sink that fails after some objects.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) WriteObject(object.TrackName, *object.Object) error {
	if f.left--; f.left < 0 {
		return errFull
	}
	return nil
}

func TestSinkFails(t *testing.T) {
	m, s := mux(t, "5.1")
	for _, after := range []int{0, 1, 40} {
		_, err := chop.Run(context.Background(), chop.Config{}, m.Reader(epoch, epoch.Add(time.Minute), s.Program), &failing{after})
		if !errors.Is(err, errFull) {
			t.Errorf("after %d objects: %v", after, err)
		}
	}
}

// TestCancel: what was accepted before the end is written.
func TestCancel(t *testing.T) {
	m, s := mux(t, "5.1")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	r := io.Reader(m.Reader(epoch, time.Time{}, s.Program)) // without end
	var out bytes.Buffer
	stats, err := chop.Run(ctx, chop.Config{}, readerFunc(func(b []byte) (int, error) {
		if n++; n == 2000 {
			cancel()
		}
		return r.Read(b[:min(len(b), 188*10)])
	}), object.NewWriter(&out))
	if err != nil || stats.Chunks < 2 {
		t.Fatalf("%+v, %v", stats, err)
	}
	or := object.NewReader(&out)
	for {
		if _, err := or.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func FuzzRun(f *testing.F) {
	var b sim.Broadcast
	m, s, err := b.Channel("102")
	if err != nil {
		f.Fatal(err)
	}
	data, err := io.ReadAll(m.Reader(epoch, epoch.Add(300*time.Millisecond), s.Program))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:min(len(data), 40*188)])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newResult()
		if _, err := chop.Run(context.Background(), chop.Config{Promote: chop.PromotePart, Source: "x"}, bytes.NewReader(in), r); err != nil {
			var input *chop.InputError
			var format *ts.FormatError
			if !errors.As(err, &input) && !errors.As(err, &format) {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkRun is the whole of ec-chop but reading and writing files.
func BenchmarkRun(b *testing.B) {
	var br sim.Broadcast
	m, s, err := br.Channel("5.1")
	if err != nil {
		b.Fatal(err)
	}
	m.Rate = 19_392_658
	data, err := io.ReadAll(m.Reader(epoch, epoch.Add(30*time.Second), s.Program))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := chop.Run(context.Background(), chop.Config{}, bytes.NewReader(data), object.NewWriter(io.Discard)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data)/ts.PacketSize), "packets/op")
}
