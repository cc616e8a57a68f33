package ts

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// stream makes n packets of a few PIDs with running counters, laid out at stride.
func stream(n, stride int) []byte {
	var b []byte
	var cc [4]uint8
	for i := range n {
		var p Packet
		k := i % 4
		h := Header{PID: PID(0x100 + k), Continuity: cc[k], UnitStart: i%16 == 0}
		cc[k] = (cc[k] + 1) & 15
		payload := bytes.Repeat([]byte{byte(i), byte(i >> 8), 0x11}, 70)
		if i%8 == 1 {
			h.HasPCR, h.PCR = true, uint64(i)*27000
		}
		p.Fill(&h, payload)
		if stride == 192 {
			b = append(b, 0, 1, 2, 3)
		}
		b = append(b, p[:]...)
		if stride == 204 {
			b = append(b, make([]byte, 16)...)
		}
	}
	return b
}

type result struct {
	packets []Packet
	syncs   []SyncError
	tail    int
	stride  int
	err     error
}

func collect(r io.Reader) result {
	var res result
	rd := newReader(r, searchMax+4096)
	for {
		p, err := rd.Next()
		var se *SyncError
		switch {
		case err == nil:
			res.packets = append(res.packets, *p)
		case errors.As(err, &se):
			res.syncs = append(res.syncs, *se)
		default:
			res.tail, res.stride, res.err = rd.Truncated(), rd.Stride(), err
			return res
		}
	}
}

func collectRuns(r io.Reader) result {
	return runs(newReader(r, searchMax+4096))
}

func collectAhead(r io.Reader) result {
	rd := NewReader(r)
	defer rd.ReadAhead()()
	return runs(rd)
}

func runs(rd *Reader) result {
	var res result
	for {
		run, stride, err := rd.NextRun()
		var se *SyncError
		switch {
		case err == nil:
			for ; len(run) >= PacketSize; run = run[min(stride, len(run)):] {
				res.packets = append(res.packets, *(*Packet)(run))
			}
		case errors.As(err, &se):
			res.syncs = append(res.syncs, *se)
		default:
			res.tail, res.stride, res.err = rd.Truncated(), rd.Stride(), err
			return res
		}
	}
}

func same(t *testing.T, name string, a, b result) {
	t.Helper()
	if len(a.packets) != len(b.packets) || len(a.syncs) != len(b.syncs) || a.tail != b.tail || a.stride != b.stride || (a.err == io.EOF) != (b.err == io.EOF) {
		t.Fatalf("%s: %d packets %v tail %d stride %d %v, want %d packets %v tail %d stride %d %v", name,
			len(a.packets), a.syncs, a.tail, a.stride, a.err, len(b.packets), b.syncs, b.tail, b.stride, b.err)
	}
	for i := range a.packets {
		if a.packets[i] != b.packets[i] {
			t.Fatalf("%s: packet %d differs", name, i)
		}
	}
	for i := range a.syncs {
		if a.syncs[i] != b.syncs[i] {
			t.Fatalf("%s: sync error %d is %v, want %v", name, i, a.syncs[i], b.syncs[i])
		}
	}
}

// every checks that neither the cut of reads nor the way of calling changes what in gives.
func every(t *testing.T, in []byte) result {
	t.Helper()
	want := collect(bytes.NewReader(in))
	same(t, "one byte reads", collect(iotest.OneByteReader(bytes.NewReader(in))), want)
	same(t, "half reads", collect(iotest.HalfReader(bytes.NewReader(in))), want)
	same(t, "data with EOF", collect(iotest.DataErrReader(bytes.NewReader(in))), want)
	same(t, "runs", collectRuns(bytes.NewReader(in)), want)
	same(t, "read ahead", collectAhead(bytes.NewReader(in)), want)
	same(t, "half reads ahead", collectAhead(iotest.HalfReader(bytes.NewReader(in))), want)
	same(t, "short reads ahead", collectAhead(&short{in, 200}), want)
	same(t, "runs of one byte reads", collectRuns(iotest.OneByteReader(bytes.NewReader(in))), want)
	return want
}

// short reads so many bytes at once.
type short struct {
	in []byte
	n  int
}

func (s *short) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.in[:min(s.n, len(s.in))])
	s.in = s.in[n:]
	return n, nil
}

// TestReadAheadStops: once it is stopped, nobody reads the input, and no packets come.
func TestReadAheadStops(t *testing.T) {
	in := &short{stream(100_000, 188), blockSize}
	rd := NewReader(in)
	stop := rd.ReadAhead()
	for range 3 {
		if _, _, err := rd.NextRun(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	left := len(in.in) // the race detector sees a read that goes on
	if left == 0 {
		t.Error("all was read though three runs were asked for")
	}
	if _, err := rd.Next(); err == nil || err == io.EOF {
		t.Errorf("after stop: %v", err)
	}
}

func TestReaderFindsFraming(t *testing.T) {
	plain := collect(bytes.NewReader(stream(40, 188))).packets
	if len(plain) != 40 {
		t.Fatalf("%d packets, want 40", len(plain))
	}
	junk := bytes.Repeat([]byte{0x47, 0, 1, 0xff}, 33)
	for _, stride := range []int{188, 192, 204} {
		for n := 1; n <= 8; n++ {
			got := every(t, stream(n, stride))
			if len(got.packets) != n || got.stride != stride && n > 1 || len(got.syncs) != 0 || got.err != io.EOF {
				t.Errorf("%d packets at %d: got %d at %d, %v %v", n, stride, len(got.packets), got.stride, got.syncs, got.err)
			}
		}
		got := every(t, append(bytes.Clone(junk), stream(40, stride)...))
		if len(got.packets) != 40 || got.stride != stride || len(got.syncs) != 1 || got.syncs[0].Offset != 0 {
			t.Errorf("junk before %d: %d packets at %d, %v", stride, len(got.packets), got.stride, got.syncs)
		}
		for i := range got.packets {
			if got.packets[i] != plain[i] {
				t.Fatalf("packet %d at stride %d is not the one sent", i, stride)
			}
		}
	}
}

func TestReaderResyncs(t *testing.T) {
	const n = 100
	for _, stride := range []int{188, 192, 204} {
		whole := stream(n, stride)
		at := 50 * stride
		cut := func(from, to int) []byte { return append(bytes.Clone(whole[:from]), whole[to:]...) }
		flip := bytes.Clone(whole)
		lead := 0
		if stride == 192 {
			lead = 4
		}
		flip[at+lead] = 0
		for _, c := range []struct {
			name    string
			in      []byte
			packets int
			syncs   int
			skipped int64 // −1: do not care
		}{
			{"one sync byte damaged", flip, n - 1, 1, int64(stride)},
			{"one byte lost", cut(at+50, at+51), n - 1, 1, int64(stride - 1)},
			{"half a packet lost", cut(at+50, at+150), n - 1, 1, int64(stride - 100)},
			{"ten bytes put in", append(append(bytes.Clone(whole[:at]), make([]byte, 10)...), whole[at:]...), n, 1, 10},
			{"100 KB of zeros put in", append(append(bytes.Clone(whole[:at]), make([]byte, 100_000)...), whole[at:]...), n, 2, -1},
			{"zeros to the end", append(bytes.Clone(whole[:at]), make([]byte, 1000)...), 50, 1, -1},
			{"cut in the last packet", whole[:len(whole)-stride+lead+88], n - 1, 0, -1},
		} {
			got := every(t, c.in)
			// A packet whose tail was lost is handed on before the loss shows; so one more is allowed.
			if len(got.packets) != c.packets && len(got.packets) != c.packets+1 || len(got.syncs) != c.syncs || got.err != io.EOF {
				t.Errorf("%s at %d: %d packets, want %d; %v %v", c.name, stride, len(got.packets), c.packets, got.syncs, got.err)
				continue
			}
			if c.name == "one sync byte damaged" && got.syncs[0] != (SyncError{int64(at + lead), int64(stride)}) {
				t.Errorf("%s at %d: %v", c.name, stride, got.syncs[0])
			}
			if strings.HasPrefix(c.name, "cut") && got.tail != 88 {
				t.Errorf("%s at %d: tail %d, want 88", c.name, stride, got.tail)
			}
			if last := got.packets[len(got.packets)-1]; c.packets == n && last.PID() != PID(0x100+(n-1)%4) {
				t.Errorf("%s at %d: the last packet is of PID %#x", c.name, stride, last.PID())
			}
		}
		// One framing after another.
		got := every(t, append(stream(20, 188), stream(20, stride)...))
		if len(got.packets) != 40 || got.stride != stride {
			t.Errorf("188 then %d: %d packets, stride %d, %v", stride, len(got.packets), got.stride, got.syncs)
		}
	}
}

// TestReaderResyncsOnTheLongerRun: bytes of 0x47 at one place of three packets in a row are no packets' starts where another run goes on.
func TestReaderResyncsOnTheLongerRun(t *testing.T) {
	sent := stream(40, 188)
	for i := 10; i < 13; i++ {
		sent[i*188+14] = SyncByte // as in headers of PES packets that are alike
	}
	in := append(bytes.Clone(sent[:10*188]), sent[10*188+4:]...) // the first four bytes of a packet are lost
	got := every(t, in)
	if len(got.packets) != 39 || len(got.syncs) != 1 || got.syncs[0].Skipped != 184 {
		t.Fatalf("%d packets, %v", len(got.packets), got.syncs)
	}
	for i, p := range got.packets[10:] {
		if p != Packet(sent[(11+i)*188:(12+i)*188]) {
			t.Fatalf("packet %d is not the one sent", 11+i)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	random := make([]byte, 300_000)
	src := rand.NewPCG(1, 2)
	for i := range random {
		random[i] = byte(src.Uint64())
	}
	for _, c := range []struct {
		name, in string
		is       error
		what     string
	}{
		{"empty", "", ErrEmpty, ""},
		{"object stream", EcoMagic + "\x01\x00\x00\x00" + strings.Repeat("x", 500), ErrNotTS, "an object stream"},
		{"text starting with the sync byte", "GET / HTTP/1.1\r\n", ErrNotTS, "less than one packet"},
		{"a little text", strings.Repeat("G is a letter. ", 20), ErrNotTS, ""},
		{"a page", "<!DOCTYPE html>" + strings.Repeat("y", 9000), ErrNotTS, "an HTML page"},
		{"random", string(random), ErrNotTS, ""},
		{"half a packet", string(stream(1, 188)[:90]), ErrNotTS, "less than one packet"},
		{"mp4", "\x00\x00\x00\x20ftypisom" + strings.Repeat("z", 300), ErrNotTS, "MP4"},
	} {
		got := every(t, []byte(c.in))
		var fe *FormatError
		if !errors.Is(got.err, c.is) || !errors.As(got.err, &fe) || fe.What != c.what || fe.ExitCode() != 65 || fe.Hint() == "" {
			t.Errorf("%s: %v", c.name, got.err)
		}
	}
	boom := errors.New("boom")
	got := collect(io.MultiReader(bytes.NewReader(stream(10, 188)), iotest.ErrReader(boom)))
	if len(got.packets) != 10 || got.err != boom {
		t.Errorf("broken reader: %d packets, %v", len(got.packets), got.err)
	}
	if got := collect(iotest.ErrReader(boom)); got.err != boom {
		t.Errorf("reader broken at once: %v", got.err)
	}
}

// datagrams delivers seven packets a read and notes when it is asked for more.
type datagrams struct {
	in    []byte
	reads int
}

func (d *datagrams) Read(b []byte) (int, error) {
	d.reads++
	if len(d.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, d.in[:7*188])
	d.in = d.in[n:]
	return n, nil
}

// A live source must not wait for a block to fill: all that was read is handed on before the next read.
func TestReaderDoesNotDelay(t *testing.T) {
	in := stream(70, 188)
	d := &datagrams{in: in}
	rd := NewReader(d)
	for i := range 70 {
		p, err := rd.Next()
		if err != nil || !bytes.Equal(p[:], in[i*188:][:188]) {
			t.Fatalf("packet %d: %v", i, err)
		}
		if want := i/7 + 1; d.reads != want {
			t.Fatalf("packet %d came after %d reads, want %d", i, d.reads, want)
		}
	}
	if rd.Offset() != 70*188 {
		t.Errorf("offset %d after 70 packets", rd.Offset())
	}
}

func TestReaderOnCaptures(t *testing.T) {
	dir := os.Getenv("EC_CAPTURES")
	if dir == "" {
		t.Skip("EC_CAPTURES is not set")
	}
	for name, gaps := range map[string]int{"dvbt-arte-hd-tot-lossy.ts": 167, "dvb-scrambled-multi-pcr.ts": 126} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got := collect(bytes.NewReader(b))
		if want := len(b) / 188; len(got.packets) != want && len(got.packets) != want+1 {
			t.Errorf("%s: %d packets of %d, %v", name, len(got.packets), want, got.syncs)
		}
		var c Continuity
		n := 0
		for i := range got.packets {
			if c.Check(&got.packets[i]) == Gap {
				n++
			}
		}
		t.Logf("%s: %d packets, %d gaps, %d reported by another analyser", name, len(got.packets), n, gaps)
		if n < gaps*9/10 || n > gaps*11/10 {
			t.Errorf("%s: %d gaps, about %d expected", name, n, gaps)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream(6, 188))
	f.Add(stream(6, 192))
	f.Add(stream(6, 204))
	f.Add(append([]byte("junk G"), stream(6, 188)[30:]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		want := collect(bytes.NewReader(in))
		same(t, "one byte reads", collect(iotest.OneByteReader(bytes.NewReader(in))), want)
		same(t, "runs", collectRuns(iotest.HalfReader(bytes.NewReader(in))), want)
		same(t, "short reads ahead", collectAhead(&short{in, 150}), want)
		n := int64(len(want.packets)) * PacketSize
		for _, s := range want.syncs {
			n += s.Skipped
		}
		if n > int64(len(in)) {
			t.Fatalf("%d bytes accounted for, %d given", n, len(in))
		}
		var c Continuity
		for i := range want.packets {
			p := &want.packets[i]
			c.Check(p)
			p.PCR()
			if b := p.Payload(); b != nil {
				_, _ = ParsePES(b)
			}
		}
	})
}

// The goal is 5 GB/s on one core, without allocation.
func BenchmarkReader(b *testing.B) {
	in := stream(100_000, 188)
	b.Run("next", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		rd := NewReader(nil)
		buf := rd.buf
		c := new(Continuity)
		var pcrs, gaps int
		for b.Loop() {
			*rd = Reader{r: bytes.NewReader(in), buf: buf, lost: -1}
			*c = Continuity{}
			for {
				p, err := rd.Next()
				if err != nil {
					break
				}
				if c.Check(p) == Gap {
					gaps++
				}
				if _, ok := p.PCR(); ok {
					pcrs++
				}
			}
		}
		if gaps > 0 || pcrs == 0 {
			b.Fatal(gaps, pcrs)
		}
	})
	b.Run("run", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		rd := NewReader(nil)
		buf := rd.buf
		c := new(Continuity)
		var pcrs, gaps int
		for b.Loop() {
			*rd = Reader{r: bytes.NewReader(in), buf: buf, lost: -1}
			*c = Continuity{}
			for {
				run, stride, err := rd.NextRun()
				if err != nil {
					break
				}
				for ; len(run) >= PacketSize; run = run[min(stride, len(run)):] {
					p := (*Packet)(run)
					if c.Check(p) == Gap {
						gaps++
					}
					if _, ok := p.PCR(); ok {
						pcrs++
					}
				}
			}
		}
		if gaps > 0 || pcrs == 0 {
			b.Fatal(gaps, pcrs)
		}
	})
}
