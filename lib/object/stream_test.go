package object

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

var update = flag.Bool("update", false, "renew golden files")

var (
	trackA = TrackName{Namespace{"ec", "atsc", "2065", "3"}, "ts_t07"}
	trackB = TrackName{Namespace{"ec", "source", "roof.1", "3"}, "ts"}
)

// item is what a test writes and expects back.
type item struct {
	track TrackName
	Object
}

func sample() []item {
	part := func(t TrackName, g, id uint64, size int) item {
		payload := bytes.Repeat([]byte{byte(g), byte(id), 0xEC, 0x4F, 'T'}, size/5+1)[:size]
		return item{t, Object{Group: g, ID: id, Priority: 128, Payload: payload,
			Properties: Properties{PTS: g * 180000, HasPTS: true, Hash: Sum(payload), HasHash: true}.Append(nil)}}
	}
	return []item{
		part(trackA, 1000, 0, 376),
		part(trackB, 1000, 0, 1),
		part(trackA, 1000, 1, 20000),
		{trackA, Object{Group: 1000, ID: 2, Status: EndOfGroup}},
		part(trackA, 1001, 0, 100),
		{trackB, Object{Group: MaxVarint, Subgroup: 7, ID: 3, Priority: 1}},
		{trackA, Object{Group: 1001, ID: 1, Status: EndOfTrack}},
	}
}

func encode(t testing.TB, items []item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, i := range items {
		before := b.Len()
		if err := w.WriteObject(i.track, &i.Object); err != nil {
			t.Fatal(err)
		}
		if b.Len() == before {
			t.Fatal("object did not leave in the call")
		}
	}
	if w.Written() != int64(b.Len()) {
		t.Fatalf("Written is %d of %d", w.Written(), b.Len())
	}
	return b.Bytes()
}

// decode returns the objects, the damage, and what the stream ended with.
func decode(r io.Reader) (items []item, damage []*CorruptError, end error) {
	rd := NewReader(r)
	for {
		rec, err := rd.Next()
		var c *CorruptError
		switch {
		case errors.As(err, &c):
			damage = append(damage, c)
		case err != nil:
			if _, again := rd.Next(); again != err {
				panic("the final error is not final")
			}
			return items, damage, err
		case !rec.IsTrack:
			o := rec.Object
			o.Payload, o.Properties = bytes.Clone(o.Payload), bytes.Clone(o.Properties)
			items = append(items, item{rec.Track.Name, o})
		}
	}
}

func same(a, b item) bool {
	return a.track.Equal(b.track) && a.Group == b.Group && a.Subgroup == b.Subgroup && a.ID == b.ID && a.Priority == b.Priority &&
		a.Status == b.Status && bytes.Equal(a.Payload, b.Payload) && bytes.Equal(a.Properties, b.Properties)
}

func equal(a, b []item) bool { return slices.EqualFunc(a, b, same) }

func TestRoundTripIsIndependentOfReadSizes(t *testing.T) {
	want := sample()
	b := encode(t, want)
	for name, r := range map[string]io.Reader{
		"whole":    bytes.NewReader(b),
		"one byte": iotest.OneByteReader(bytes.NewReader(b)),
		"half":     iotest.HalfReader(bytes.NewReader(b)),
		"data err": iotest.DataErrReader(bytes.NewReader(b)),
	} {
		got, damage, err := decode(r)
		if err != io.EOF || damage != nil || !equal(got, want) {
			t.Errorf("%s: %d of %d objects, damage %v, %v", name, len(got), len(want), damage, err)
		}
	}
}

func TestGolden(t *testing.T) {
	small := sample()
	small[2].Payload = small[2].Payload[:10]
	got := hex.Dump(encode(t, small))
	file := filepath.Join("testdata", "stream.hex")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("the format changed (%v): edit docs/format/eco.md and run with -update\n%s", err, got)
	}
}

func TestConcatenation(t *testing.T) {
	b := encode(t, sample())
	got, damage, err := decode(bytes.NewReader(append(slices.Clone(b), b...)))
	if err != io.EOF || damage != nil || !equal(got, append(sample(), sample()...)) {
		t.Errorf("%d objects, %v, %v", len(got), damage, err)
	}
	// A torn stream swallows nothing of the next.
	got, damage, err = decode(bytes.NewReader(append(slices.Clone(b[:1000]), b...)))
	if err != io.EOF || len(damage) != 1 || !equal(got, append(sample()[:2:2], sample()...)) {
		t.Errorf("after a torn one: %d objects, %v, %v", len(got), damage, err)
	}
}

func TestTrackRecords(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.WriteTrack(trackB, []byte{2, 5})
	w.WriteTrack(trackB, []byte{2, 5})
	w.WriteObject(trackB, &Object{Group: 1})
	w.WriteObject(trackB, &Object{Group: 2})
	w.WriteTrack(trackB, nil)
	r := NewReader(&b)
	var got []string
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(rec.IsTrack, rec.Track.Name, rec.Track.Properties, rec.Object.Group))
	}
	want := []string{
		"true ec-source-roof.2e1-3--ts [2 5] 0",
		"false ec-source-roof.2e1-3--ts [2 5] 1",
		"false ec-source-roof.2e1-3--ts [2 5] 2",
		"true ec-source-roof.2e1-3--ts [] 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestAppendContinues(t *testing.T) {
	want := sample()
	var b bytes.Buffer
	w := NewWriter(&b)
	w.WriteObject(want[0].track, &want[0].Object)
	w.WriteObject(want[1].track, &want[1].Object)
	w = NewAppendWriter(&b, trackA, trackB)
	for _, i := range want[2:] {
		if err := w.WriteObject(i.track, &i.Object); err != nil {
			t.Fatal(err)
		}
	}
	got, damage, err := decode(bytes.NewReader(b.Bytes()))
	if err != io.EOF || damage != nil || !equal(got, want) || bytes.Count(b.Bytes(), []byte(Magic)) != 1 {
		t.Errorf("%d objects, %v, %v", len(got), damage, err)
	}
}

func TestTruncationAtEveryByte(t *testing.T) {
	all := sample()
	all[2].Payload = all[2].Payload[:500]
	b := encode(t, all)
	var ends []int64
	r := NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		if !rec.IsTrack {
			ends = append(ends, rec.Offset+rec.Size)
		}
	}
	for cut := 1; cut < len(b); cut++ {
		whole := 0
		for whole < len(ends) && ends[whole] <= int64(cut) {
			whole++
		}
		got, damage, err := decode(bytes.NewReader(b[:cut]))
		if !equal(got, all[:whole]) || damage != nil {
			t.Fatalf("cut at %d: %d objects, want %d; %v", cut, len(got), whole, damage)
		}
		if err != io.EOF && !(errors.Is(err, ErrTruncated) && errors.Is(err, io.ErrUnexpectedEOF)) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if slices.Contains(ends, int64(cut)) != (err == io.EOF) && cut > HeaderSize {
			// Between records the cut may also fall behind a track record, which is clean too.
			if err != io.EOF || !cleanCut(b, cut) {
				t.Fatalf("cut at %d ends with %v", cut, err)
			}
		}
	}
}

func cleanCut(b []byte, cut int) bool { return b[cut] == recordSync>>8 && b[cut+1] == recordSync&0xff }

func TestBitFlips(t *testing.T) {
	all := sample()
	all[2].Payload = all[2].Payload[:500]
	b := encode(t, all)
	for bit := range len(b) * 8 {
		c := slices.Clone(b)
		c[bit/8] ^= 1 << (bit % 8)
		got, damage, err := decode(bytes.NewReader(c))
		// A flip costs at most the record it hits, and a hit track record costs nothing but what
		// follows until the next declaration of that track: here at most two objects.
		lost := 0
		i := 0
		for _, w := range all {
			if i < len(got) && same(got[i], w) {
				i++
			} else {
				lost++
			}
		}
		if i != len(got) {
			t.Fatalf("bit %d: an altered object was returned", bit)
		}
		if errors.Is(err, ErrVersion) {
			continue // a whole stream of another version is not ours to guess at
		}
		if lost > 3 {
			t.Fatalf("bit %d (byte %d) costs %d objects", bit, bit/8, lost)
		}
		if lost > 0 && damage == nil && !errors.Is(err, ErrTruncated) {
			t.Fatalf("bit %d: loss is not reported, %v", bit, err)
		}
		var m *MagicError
		if errors.As(err, &m) || err == nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
}

func TestMissingBytes(t *testing.T) {
	all := sample()
	b := encode(t, all)
	for _, n := range []int{1, 2, 3, 7, 64} { // bytes lost inside the 20,000 byte payload
		c := slices.Delete(slices.Clone(b), 5000, 5000+n)
		got, damage, err := decode(iotest.HalfReader(bytes.NewReader(c)))
		if err != io.EOF || len(damage) != 1 || !equal(got, slices.Delete(slices.Clone(all), 2, 3)) {
			t.Errorf("%d bytes lost: %d objects, %v, %v", n, len(got), damage, err)
		}
	}
	// Lost so near the end that the record seems to run past it.
	c := slices.Delete(slices.Clone(b), 2000, 15000)
	got, damage, err := decode(bytes.NewReader(c))
	if err != io.EOF || len(damage) != 1 || !equal(got, slices.Delete(slices.Clone(all), 2, 3)) {
		t.Errorf("large loss: %d objects, %v, %v", len(got), damage, err)
	}
	// Garbage between records.
	b1 := encode(t, all[:1])
	c = append(append(slices.Clone(b1), "garbage \xec\x4f more"...), b[len(b1):]...)
	got, damage, err = decode(bytes.NewReader(c))
	if err != io.EOF || len(damage) != 1 || damage[0].Offset != int64(len(b1)) || !equal(got, all) {
		t.Errorf("garbage: %d objects, %v, %v", len(got), damage, err)
	}
}

func TestWrongInput(t *testing.T) {
	ts := bytes.Repeat(append([]byte{0x47}, make([]byte, 187)...), 10)
	for _, c := range []struct{ name, in, found, hint string }{
		{"empty", "", "empty input", "check the command before the pipe"},
		{"text", "hello world, this is text", "", "ec-chop makes one"},
		{"TS", string(ts), "MPEG-TS", "ec-chop"},
		{"TS from the middle", string(ts[100:]), "MPEG-TS", "ec-chop"},
		{"one packet of TS", string(ts[:188]), "MPEG-TS", "ec-chop"},
		{"192", strings.Repeat("\x00\x00\x00\x00\x47"+strings.Repeat("\xff", 187), 10), "MPEG-TS", "ec-chop"},
		{"zstd", "\x28\xb5\x2f\xfd" + strings.Repeat("x", 100), "zstd", "zstd -dc"},
	} {
		_, _, err := decode(strings.NewReader(c.in))
		var m *MagicError
		if !errors.Is(err, ErrMagic) || !errors.As(err, &m) || m.Found != c.found || !strings.Contains(m.Hint(), c.hint) || m.ExitCode() != 65 {
			t.Errorf("%s: %v (%+v)", c.name, err, m)
		}
	}
	b := encode(t, sample())
	b[8] = 2
	if _, _, err := decode(bytes.NewReader(b)); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
}

func TestReadError(t *testing.T) {
	boom := errors.New("boom")
	b := encode(t, sample())
	got, _, err := decode(io.MultiReader(bytes.NewReader(b[:1000]), iotest.ErrReader(boom)))
	if !errors.Is(err, boom) || len(got) != 2 {
		t.Errorf("%d objects, %v", len(got), err)
	}
}

func TestEmptyStream(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.WriteHeader()
	w.WriteHeader()
	if got, damage, err := decode(&b); err != io.EOF || got != nil || damage != nil || w.Written() != HeaderSize {
		t.Errorf("%v, %v, %v", got, damage, err)
	}
}

func TestWriterRefuses(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, c := range []struct {
		name  string
		track TrackName
		o     Object
		want  error
	}{
		{"bad name", TrackName{}, Object{}, ErrName},
		{"group id", trackA, Object{Group: 1 << 62}, ErrTooLarge},
		{"payload", trackA, Object{Payload: make([]byte, MaxBody+1)}, ErrTooLarge},
		{"properties", trackA, Object{Properties: make([]byte, MaxHead)}, ErrTooLarge},
		{"status with payload", trackA, Object{Status: EndOfGroup, Payload: []byte{1}}, ErrBody},
	} {
		if err := w.WriteObject(c.track, &c.o); !errors.Is(err, c.want) || b.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written", c.name, err, b.Len())
		}
	}
	if err := w.WriteObject(trackA, &Object{Payload: []byte{1}}); err != nil {
		t.Errorf("a refusal is not the end: %v", err)
	}
	if got, _, err := decode(&b); len(got) != 1 || err != io.EOF {
		t.Errorf("%v, %v", got, err)
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if n < len(p) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

func TestWriteErrorIsFinal(t *testing.T) {
	w := NewWriter(&failing{100})
	o := sample()[2].Object
	for range 2 {
		if err := w.WriteObject(trackA, &o); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(Magic))
	b := encode(f, sample())
	f.Add(b[:700])
	f.Add(slices.Delete(slices.Clone(b), 2000, 15000))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, damage, end := decode(bytes.NewReader(b))
		g2, d2, e2 := decode(iotest.OneByteReader(bytes.NewReader(b)))
		if !equal(got, g2) || len(damage) != len(d2) || fmt.Sprint(end) != fmt.Sprint(e2) {
			t.Fatalf("depends on read sizes: %d/%d objects, %v/%v, %v/%v", len(got), len(g2), damage, d2, end, e2)
		}
		for i := 1; i < len(damage); i++ {
			if damage[i].Offset < damage[i-1].Offset {
				t.Fatalf("offsets descend: %v", damage)
			}
		}
		if len(got) == 0 {
			return
		}
		again, damage, end := decode(bytes.NewReader(encode(t, got)))
		if !equal(got, again) || damage != nil || end != io.EOF {
			t.Fatalf("%d objects written, %d read, %v, %v", len(got), len(again), damage, end)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	w := NewWriter(io.Discard)
	o := sample()[2].Object
	if n := testing.AllocsPerRun(100, func() { o.Group++; w.WriteObject(trackA, &o); w.WriteObject(trackB, &o) }); n != 0 {
		t.Errorf("WriteObject allocates %v times", n)
	}
}

func BenchmarkWriteObject(b *testing.B) {
	for _, size := range []int{1316, 200_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			o := Object{Payload: make([]byte, size), Properties: sample()[0].Properties}
			w := NewWriter(io.Discard)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				o.ID++
				w.WriteObject(trackA, &o)
			}
		})
	}
}

func BenchmarkReader(b *testing.B) {
	for _, size := range []int{1316, 200_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var buf bytes.Buffer
			w := NewWriter(&buf)
			o := Object{Payload: make([]byte, size)}
			n := 4 << 20 / size
			for range n {
				o.ID++
				w.WriteObject(trackA, &o)
			}
			r := NewReader(nil)
			src := bytes.NewReader(nil)
			b.SetBytes(int64(n * size))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(buf.Bytes())
				r.Reset(src)
				for {
					if _, err := r.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}

func BenchmarkSum(b *testing.B) {
	p := make([]byte, 200_000)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		Sum(p)
	}
}
