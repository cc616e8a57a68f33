package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
)

var (
	broadcastNS = object.Namespace{"ec", "atsc", "2065", "3"}
	sourceNS    = object.Namespace{"ec", "source", "attic", "3"}
	tsTrack     = object.TrackName{Namespace: broadcastNS, Name: "ts_t13"}
	sourceTrack = object.TrackName{Namespace: sourceNS, Name: "ts"}
	manifest    = object.TrackName{Namespace: sourceNS, Name: "manifest"}
)

// ecoStream writes object streams.
type ecoStream struct {
	bytes.Buffer
	w *object.Writer
	t testing.TB
}

func newEco(t testing.TB) *ecoStream {
	s := &ecoStream{t: t}
	s.w = object.NewWriter(&s.Buffer)
	return s
}

func (s *ecoStream) put(track object.TrackName, o object.Object) {
	s.t.Helper()
	if err := s.w.WriteObject(track, &o); err != nil {
		s.t.Fatal(err)
	}
}

// part is one object of a chunk, with its properties.
func (s *ecoStream) part(track object.TrackName, group, id uint64, payload []byte) object.Hash {
	s.t.Helper()
	h := object.Sum(payload)
	p := object.Properties{Hash: h, HasHash: true, Duration: 18000, HasDuration: true}
	if id == 0 {
		p.PTS, p.HasPTS, p.Flags = 1000*group, true, object.RandomAccess
	}
	s.put(track, object.Object{Group: group, ID: id, Properties: p.Append(nil), Payload: payload})
	return h
}

func (s *ecoStream) end(track object.TrackName, group, id uint64) {
	s.put(track, object.Object{Group: group, ID: id, Status: object.EndOfGroup})
}

// chunk writes a whole chunk and what the manifest says about it.
func (s *ecoStream) chunk(track object.TrackName, group uint64, parts int, damage *catalog.Damage) catalog.ManifestEntry {
	s.t.Helper()
	e := catalog.ManifestEntry{V: 1, Group: group, Track: track, Scope: catalog.ScopeBroadcast, PTS: 1000 * group, Damage: damage}
	utc := catalog.TimeOf(noon.Add(time.Duration(group) * 2 * time.Second))
	e.UTC = &utc
	if damage != nil {
		e.Scope, e.Reason = catalog.ScopeSource, catalog.ReasonDamaged
	}
	var hashes []object.Hash
	for i := range parts {
		payload := bytes.Repeat([]byte{0x47, byte(group), byte(i)}, 188)
		hashes = append(hashes, s.part(track, group, uint64(i), payload))
		e.Bytes += int64(len(payload))
		e.Objects++
	}
	s.end(track, group, uint64(parts))
	e.Hash = catalog.HashParts(hashes)
	return e
}

func (s *ecoStream) manifest(e catalog.ManifestEntry) {
	s.t.Helper()
	b, err := e.Append(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(manifest, object.Object{Group: e.Group, Payload: b})
}

// sample is a stream as ec-chop writes it: three chunks promoted, one damaged.
func sample(t testing.TB) []byte {
	s := newEco(t)
	if err := s.w.WriteTrack(manifest, nil); err != nil {
		t.Fatal(err)
	}
	for g := uint64(10); g < 14; g++ {
		track, damage := tsTrack, (*catalog.Damage)(nil)
		if g == 12 {
			track, damage = sourceTrack, &catalog.Damage{Continuity: 3}
		}
		s.manifest(s.chunk(track, g, 5, damage))
	}
	return s.Bytes()
}

// dumpObjects returns the chunks printed and the last report.
func dumpObjects(t testing.TB, cfg Config, in io.Reader) (chunks []map[string]any, rep map[string]any, err error) {
	t.Helper()
	_, all, err := dump(t, cfg, in)
	if r := all["report"]; len(r) > 0 {
		rep = r[len(r)-1]
	}
	return all["chunk"], rep, err
}

func TestObjectStream(t *testing.T) {
	in := sample(t)
	chunks, rep, err := dumpObjects(t, Config{Verify: true}, iotest.OneByteReader(bytes.NewReader(in)))
	if err != nil {
		t.Fatal(err)
	}
	if len(chunks) != 4 {
		t.Fatalf("%d chunks, want 4", len(chunks))
	}
	for i, c := range chunks {
		name, utc := fmt.Sprintf("ec-atsc-2065-3--ts_t13 %d", 10+i), fmt.Sprintf("2026-11-23T12:00:%02d.000Z", 20+2*i)
		if i == 2 {
			name = "ec-source-attic-3--ts 12"
		}
		if c["name"] != name || c["objects"] != 5.0 || c["bytes"] != 5.0*3*188 || c["whole"] != true || c["utc"] != utc ||
			c["pts"] != 1000.0*float64(10+i) || c["duration"] != 90000.0 || c["verified"] != true || c["hash"] == nil {
			t.Errorf("chunk %d: %v", i, c)
		}
		if damage, ok := c["damage"].(map[string]any); ok != (i == 2) || ok && (damage["continuity"] != 3.0 || c["reason"] != "damaged") {
			t.Errorf("chunk %d: damage %v, reason %v", i, c["damage"], c["reason"])
		}
	}
	if v := rep["verified"].(map[string]any); v["ok"] != 20.0 || v["mismatch"] != 0.0 || v["noHash"] != 4.0 {
		t.Errorf("verified %v", v)
	}
	if rep["bytes"] != float64(len(in)) || rep["corrupt"] != 0.0 || len(rep["tracks"].([]any)) != 3 {
		t.Errorf("report %v", rep)
	}
	var text bytes.Buffer
	if err := Run(context.Background(), Config{Verify: true}, bytes.NewReader(in), &text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ec-atsc-2065-3--ts_t13 10  5 objects, 2820 bytes", "damaged  tei 0 cc 3", "UTC 2026-11-23 12:00:20.000", "verified\n", "hashes: 20 right, 0 wrong, 4 objects without"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	// Streams may follow each other.
	if chunks, _, err := dumpObjects(t, Config{Verify: true}, io.MultiReader(bytes.NewReader(in), bytes.NewReader(in))); err != nil || len(chunks) != 8 {
		t.Errorf("twice: %d chunks, %v", len(chunks), err)
	}
}

func TestObjectDamage(t *testing.T) {
	in := sample(t)
	wrong := func() []byte { // a payload that its hash does not fit, in sound framing
		s := newEco(t)
		p := object.Properties{Hash: object.Sum([]byte("one")), HasHash: true}
		s.put(tsTrack, object.Object{Group: 1, Properties: p.Append(nil), Payload: []byte("two")})
		s.end(tsTrack, 1, 1)
		return s.Bytes()
	}()
	lie := func() []byte {
		s := newEco(t)
		if err := s.w.WriteTrack(manifest, nil); err != nil {
			t.Fatal(err)
		}
		e := s.chunk(tsTrack, 1, 2, nil)
		e.Hash[0] ^= 1
		s.manifest(e)
		return s.Bytes()
	}()
	flipped := bytes.Clone(in)
	flipped[bytes.Index(in, []byte{0x47, 11, 3})+100] ^= 1
	for _, c := range []struct {
		name   string
		in     []byte
		verify bool
		is     error
	}{
		{"sound", in, true, nil},
		{"wrong hash, not looked at", wrong, false, nil},
		{"wrong hash", wrong, true, ErrMismatch},
		{"not what the manifest says", lie, true, ErrMismatch},
		{"a bit flipped", flipped, false, ErrDamaged},
		{"cut short", in[:len(in)-100], false, object.ErrTruncated},
		{"another version", append([]byte(object.Magic+"\x09\x00\x00\x00"), in[12:]...), false, object.ErrVersion},
		{"a header damaged", append([]byte("\x8fECO\n\x1a\n\n\x01\x00\x00\x00"), in[12:]...), false, ErrDamaged},
		{"a header missing", in[12:], false, ErrDamaged},
		{"only a piece of the magic", []byte(object.Magic[:5]), false, object.ErrTruncated},
	} {
		chunks, rep, err := dumpObjects(t, Config{Verify: c.verify}, bytes.NewReader(c.in))
		if !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %v", c.name, err, c.is)
		}
		if e, ok := errors.AsType[interface {
			error
			ExitCode() int
		}](err); c.is != nil && (!ok || e.ExitCode() != 65) {
			t.Errorf("%s: %v does not exit 65", c.name, err)
		}
		if c.is == object.ErrVersion {
			continue
		}
		if rep == nil || rep["final"] != true {
			t.Errorf("%s: no report", c.name)
		}
		switch c.name {
		case "a bit flipped": // one part is lost, the rest is there
			if len(chunks) != 4 || chunks[1]["missing"] != 1.0 || chunks[1]["whole"] != false || chunks[3]["whole"] != true {
				t.Errorf("%s: %v", c.name, chunks)
			}
		case "wrong hash":
			if chunks[0]["verified"] != false {
				t.Errorf("%s: %v", c.name, chunks)
			}
		}
	}
}

// Groups may be interleaved, come without an end or out of order, and parts may come in any order.
func TestObjectOrder(t *testing.T) {
	s := newEco(t)
	var want []object.Hash
	for _, id := range []uint64{2, 0, 1} {
		h := s.part(tsTrack, 5, id, []byte{byte(id)})
		want = append(want, h)
	}
	s.part(tsTrack, 6, 0, []byte("a"))
	s.part(tsTrack, 4, 0, []byte("late"))
	s.end(tsTrack, 5, 3)
	for g := uint64(7); g < 20; g++ {
		s.part(tsTrack, g, 1, []byte("no first part"))
	}
	chunks, _, err := dumpObjects(t, Config{}, bytes.NewReader(s.Bytes()))
	if err != nil || len(chunks) != 16 {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	hash := catalog.HashParts([]object.Hash{want[1], want[2], want[0]})
	if c := chunks[0]; c["group"] != 5.0 || c["whole"] != true || c["hash"] != hash.String() {
		t.Errorf("%v, want the hash %v", c, hash)
	}
	for _, c := range chunks[1:] {
		if c["whole"] != false || (c["group"].(float64) > 6) != (c["missing"] == 1.0) {
			t.Errorf("%v", c)
		}
	}
}

// Of a chunk that was found damaged midway the first parts are in the broadcast's group, the rest in the source's.
func TestPartlyPromoted(t *testing.T) {
	s := newEco(t)
	if err := s.w.WriteTrack(manifest, nil); err != nil {
		t.Fatal(err)
	}
	var hashes []object.Hash
	for id := range uint64(5) {
		track := tsTrack
		if id >= 2 {
			track = sourceTrack
		}
		hashes = append(hashes, s.part(track, 7, id, []byte{0x47, byte(id)}))
	}
	s.end(sourceTrack, 7, 5)
	s.manifest(catalog.ManifestEntry{V: 1, Group: 7, Track: sourceTrack, Scope: catalog.ScopeSource, Objects: 5, Bytes: 10,
		Hash: catalog.HashParts(hashes), Promoted: 2, Reason: catalog.ReasonDamaged})
	chunks, rep, err := dumpObjects(t, Config{Verify: true}, bytes.NewReader(s.Bytes()))
	if err != nil || len(chunks) != 2 || rep["manifestMismatches"] != nil {
		t.Fatalf("%v, %v, %v", chunks, rep, err)
	}
	if c := chunks[0]; c["promoted"] != 2.0 || c["whole"] != true || c["missing"] != nil || c["reason"] != "damaged" {
		t.Errorf("the rest: %v", c)
	}
	if c := chunks[1]; c["whole"] != false || c["objects"] != 2.0 {
		t.Errorf("the beginning: %v", c)
	}
	var out bytes.Buffer
	if err := Extract(context.Background(), Config{}, "", bytes.NewReader(s.Bytes()), &out); err != nil || out.String() != "\x47\x00\x47\x01\x47\x02\x47\x03\x47\x04" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// What the manifest learns of a chunk later contradicts nothing, and stands in the report.
func TestToldLate(t *testing.T) {
	s := newEco(t)
	for _, group := range []uint64{20<<16 | 7, 21<<16 | 3, 19<<16 | 5} { // the clock goes back
		e := s.chunk(tsTrack, group, 3, nil)
		s.manifest(e)
		if group>>16 == 21 {
			e.Late, e.Reason, e.Damage = true, catalog.ReasonDamaged, &catalog.Damage{Continuity: 2}
			s.manifest(e)
		}
	}
	in := s.Bytes()
	chunks, rep, err := dumpObjects(t, Config{JSON: true, Verify: true}, bytes.NewReader(in))
	if err != nil || len(chunks) != 3 || rep["toldLate"] != 1.0 || rep["manifestMismatches"] != nil {
		t.Errorf("%d chunks, %v, %v", len(chunks), rep, err)
	}
	var text bytes.Buffer
	if err := Run(context.Background(), Config{Verify: true}, bytes.NewReader(in), &text); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%v %d  told late: damaged  tei 0 cc 2 ", tsTrack, 21<<16|3); strings.Count(text.String(), want) != 1 {
		t.Errorf("%q is not in\n%s", want, &text)
	}
}

func TestExtract(t *testing.T) {
	in := sample(t)
	for _, c := range []struct {
		name   string
		in     []byte
		track  string
		groups []byte
		err    error
	}{
		{"the program, promoted or not", in, "", []byte{10, 11, 12, 13}, nil},
		{"one track", in, "ec-source-attic-3--ts", []byte{12}, nil},
		{"no such track", in, "ec-atsc-2065-3--ts_t01", nil, ErrTrack},
		{"cut short", in[:len(in)-10], "", []byte{10, 11, 12, 13}, object.ErrTruncated},
		{"a transport stream", bytes.Repeat(append([]byte{0x47}, make([]byte, 187)...), 20), "", nil, object.ErrMagic},
	} {
		var out bytes.Buffer
		err := Extract(context.Background(), Config{}, c.track, bytes.NewReader(c.in), &out)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		var want []byte
		for _, g := range c.groups {
			for i := range 5 {
				want = append(want, bytes.Repeat([]byte{0x47, g, byte(i)}, 188)...)
			}
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: %d bytes, want %d", c.name, out.Len(), len(want))
		}
	}
	s := newEco(t)
	s.part(tsTrack, 1, 0, []byte("three"))
	s.part(object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "4"}, Name: "ts_t13"}, 1, 0, []byte("four"))
	err := Extract(context.Background(), Config{}, "", bytes.NewReader(s.Bytes()), io.Discard)
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint(), "--track") {
		t.Errorf("two programs: %v", err)
	}
	// With Verify what does not fit its hash is left out.
	s = newEco(t)
	p := object.Properties{Hash: object.Sum([]byte("one")), HasHash: true}
	s.put(tsTrack, object.Object{Group: 1, Properties: p.Append(nil), Payload: []byte("two")})
	s.part(tsTrack, 1, 1, []byte("three"))
	var out bytes.Buffer
	if err := Extract(context.Background(), Config{Verify: true}, "", bytes.NewReader(s.Bytes()), &out); !errors.Is(err, ErrMismatch) || out.String() != "three" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func FuzzObjects(f *testing.F) {
	f.Add(sample(f)[:3000])
	f.Fuzz(func(t *testing.T, in []byte) {
		in = append([]byte(object.Magic+"\x01\x00\x00\x00"), in...)
		_ = Run(context.Background(), Config{Verify: true}, bytes.NewReader(in), io.Discard)
		_ = Run(context.Background(), Config{JSON: true}, bytes.NewReader(in), io.Discard)
		_ = Extract(context.Background(), Config{Verify: true}, "", bytes.NewReader(in), io.Discard)
	})
}

func BenchmarkObjects(b *testing.B) {
	s := newEco(b)
	payload := bytes.Repeat([]byte{0x47}, 188*1000)
	for g := range uint64(20) {
		for i := range uint64(10) {
			s.part(tsTrack, g, i, payload)
		}
		s.end(tsTrack, g, 10)
	}
	for _, verify := range []bool{false, true} {
		b.Run(fmt.Sprintf("verify=%v", verify), func(b *testing.B) {
			b.SetBytes(int64(s.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if err := Run(context.Background(), Config{Verify: verify}, bytes.NewReader(s.Bytes()), io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
