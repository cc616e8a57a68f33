package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"every.channel/ec/lib/ts"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// every program of every multiplex, and the whole multiplexes
func eachProgram(t *testing.T, muxes []*Mux, f func(t *testing.T, m *Mux, program uint16)) {
	for _, m := range muxes {
		programs := []uint16{0}
		for _, s := range m.Services {
			programs = append(programs, s.Program)
		}
		for _, p := range programs {
			t.Run(fmt.Sprintf("%s %d program %d", m.Standard, m.TSID, p), func(t *testing.T) { f(t, m, p) })
		}
	}
}

func TestTwoReceiversOfOneBroadcast(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	first, second := DefaultMuxes(), DefaultMuxes() // as in two processes
	at := 0
	eachProgram(t, first, func(t *testing.T, m *Mux, program uint16) {
		var other *Mux
		for _, o := range second {
			if o.TSID == m.TSID {
				other = o
			}
		}
		end := noon.Add(7 * time.Second)
		early := readAll(t, m.Reader(noon, end, program))
		if len(early) == 0 {
			t.Fatal("nothing is broadcast")
		}
		for range 8 {
			join := noon.Add(time.Duration(rng.Int64N(int64(6 * time.Second))))
			late := readAll(t, other.Reader(join, end, program))
			if !bytes.HasSuffix(early, late) {
				t.Errorf("a receiver that joins at %s gets other packets", join)
			}
			if program == 0 && int64(len(late))/ts.PacketSize != mustPlan(t, m).position(end)-mustPlan(t, m).position(join) {
				t.Errorf("joined at %s: %d packets", join, len(late)/ts.PacketSize)
			}
		}
		at++
	})
	if at < 10 {
		t.Errorf("only %d programs compared", at)
	}
}

func mustPlan(t testing.TB, m *Mux) *plan {
	t.Helper()
	p, err := m.built()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestContinuity(t *testing.T) {
	eachProgram(t, DefaultMuxes(), func(t *testing.T, m *Mux, program uint16) {
		var cc ts.Continuity
		b := readAll(t, m.Reader(noon, noon.Add(61*time.Second), program))
		for i := 0; i < len(b); i += ts.PacketSize {
			p := (*ts.Packet)(b[i:])
			if p[0] != ts.SyncByte {
				t.Fatalf("packet %d starts with %#x", i/ts.PacketSize, p[0])
			}
			if e := cc.Check(p); e != ts.Ok {
				t.Fatalf("packet %d of PID %#x: %s", i/ts.PacketSize, p.PID(), e)
			}
		}
	})
}

func TestOddServices(t *testing.T) {
	var b Broadcast
	count := func(number string) (all, scrambled, pes int) {
		m, s, err := b.Channel(number)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packets(readAll(t, m.Reader(noon, noon.Add(2*time.Second), s.Program))) {
			if p.PID() != s.videoPID() && p.PID() != s.audioPID() || !p.HasPayload() {
				continue
			}
			all++
			if p.Scrambled() {
				scrambled++
			}
			if _, err := ts.ParsePES(p.Payload()); err == nil && p.UnitStart() {
				pes++
			}
		}
		return all, scrambled, pes
	}
	if all, scrambled, pes := count("ec-ca"); all == 0 || scrambled != all || pes != 0 {
		t.Errorf("7.2: %d of %d packets are scrambled, %d PES headers can be read", scrambled, all, pes)
	}
	if all, scrambled, pes := count("5.2"); all == 0 || scrambled != 0 || pes < 100 {
		t.Errorf("5.2: %d of %d packets are scrambled, %d PES headers can be read", scrambled, all, pes)
	}
	if all, _, _ := count("7.3"); all != 0 {
		t.Errorf("7.3 sends %d packets", all)
	}
	if _, _, err := b.Channel("12"); !errors.Is(err, ErrChannel) {
		t.Errorf("channel 12: %v", err)
	}
}

func TestShortReads(t *testing.T) {
	m := DefaultMuxes()[0]
	want := readAll(t, m.Reader(noon, noon.Add(time.Second), 3))
	got := readAll(t, iotest.OneByteReader(m.Reader(noon, noon.Add(time.Second), 3)))
	if !bytes.Equal(want, got) {
		t.Error("what is read depends on the size of reads")
	}
	if err := iotest.TestReader(m.Reader(noon, noon.Add(time.Second), 3), want); err != nil {
		t.Error(err)
	}
}

func BenchmarkReader(b *testing.B) {
	for _, program := range []uint16{0, 3} {
		b.Run(fmt.Sprintf("program %d", program), func(b *testing.B) {
			r := DefaultMuxes()[0].Reader(noon, time.Time{}, program)
			buf := make([]byte, 1000*ts.PacketSize)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.ReadFull(r, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
