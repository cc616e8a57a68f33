package probe

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

func minute(t testing.TB) []byte {
	t.Helper()
	m := sim.DefaultMuxes()[0]
	at := time.Date(2026, 3, 14, 15, 20, 0, 0, time.UTC)
	data, err := io.ReadAll(m.Reader(at, at.Add(time.Minute), 3))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A meter says what a report of ec-dump says, whatever the lengths of the runs, and its counters never go down.
func TestMeter(t *testing.T) {
	data := minute(t)
	damaged, err := io.ReadAll(sim.Impair{Seed: 5, Loss: 0.002, TEI: 0.001}.Reader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	damaged = damaged[:len(damaged)/ts.PacketSize*ts.PacketSize]
	a := newAnalyzer(Config{}, &lines{w: io.Discard})
	for b := damaged; len(b) > 0; b = b[ts.PacketSize:] {
		a.packet((*ts.Packet)(b)) // one by one
		a.cc.Keep()
	}
	want := a.measured()
	for _, run := range []int{1, 7, 350, 1 << 20} {
		m := NewMeter()
		before := catalog.Health{}
		for b := damaged; len(b) > 0; {
			n := min(run*ts.PacketSize, len(b))
			m.Packets(b[:n], ts.PacketSize)
			b = b[n:]
			if len(b)%3 == 0 {
				h := m.Health()
				for i, c := range h.TR101290.Counters() {
					if was := before.TR101290.Counters(); len(was) == len(h.TR101290.Counters()) && c.N < was[i].N {
						t.Errorf("%s went from %d to %d", c.Name, was[i].N, c.N)
					}
				}
				before = h
			}
		}
		got := m.Health()
		got.TR101290.Priority1.PAT, got.TR101290.Priority1.PAT2, got.TR101290.Priority1.PMT = want.Priority1.PAT, want.Priority1.PAT2, want.Priority1.PMT // overdue at a look
		if got.TR101290.Priority1 != want.Priority1 || got.TR101290.Priority2.Transport != want.Priority2.Transport || got.TR101290.Priority2.CRC != want.Priority2.CRC ||
			got.TR101290.Priority2.PTS != want.Priority2.PTS || got.Packets != a.packets {
			t.Errorf("runs of %d: %+v, one by one: %+v", run, got.TR101290, want)
		}
	}
	if want.Priority1.Continuity == 0 || want.Priority2.Transport == 0 {
		t.Error("there is nothing to count")
	}
}

// Of a packet that repeats what was heard nothing is allocated.
func TestMeterAllocates(t *testing.T) {
	data := minute(t)
	m := NewMeter()
	m.Packets(data, ts.PacketSize)
	packets := len(data) / ts.PacketSize
	n := testing.AllocsPerRun(3, func() { m.Packets(data, ts.PacketSize) })
	if n > float64(packets)/100 {
		t.Errorf("%.0f allocations for %d packets", n, packets)
	}
}

func BenchmarkMeter(b *testing.B) {
	data := minute(b)
	m := NewMeter()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for i := 0; i < len(data); i += 348 * ts.PacketSize {
			m.Packets(data[i:min(len(data), i+348*ts.PacketSize)], ts.PacketSize)
		}
	}
}

// ec-dump prints entries of a health track.
func TestHealthInObjects(t *testing.T) {
	quality := 40
	h := catalog.Health{Rate: 19_400_000, Lost: 7, Tuner: &catalog.Tuner{V: 1, Quality: &quality, Gaps: 2}, Chunks: catalog.ChunkSums{All: 5, Promoted: 3, Damaged: 2}}
	h.TR101290.Priority1.Continuity = 4
	payload, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	name := object.TrackName{Namespace: object.Namespace{"ec", "source", "home", "3"}, Name: catalog.TrackHealth}
	w := object.NewWriter(&in)
	for i, p := range [][]byte{payload, []byte(`{"v":2}`), []byte("no JSON")} {
		if err := w.WriteObject(name, &object.Object{Group: 9, ID: uint64(i), Payload: p}); err != nil {
			t.Fatal(err)
		}
	}
	for json, want := range map[bool]string{
		false: "health of ec-source-home-3: quality 40 %, 19.400 Mbit/s, 5 chunks of which 3 promoted, 2 damaged, lost packets 7, Continuity_count_error 4, tuner gaps 2\n",
		true:  `"Continuity_count_error":4,`,
	} {
		var out strings.Builder
		if err := Run(t.Context(), Config{JSON: json}, bytes.NewReader(in.Bytes()), &out); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), `"type":"health"`) + strings.Count(out.String(), "health of"); n != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("JSON %v: %s", json, out.String())
		}
	}
}
