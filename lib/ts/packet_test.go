package ts

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestFillRoundTrip(t *testing.T) {
	payload := bytes.Repeat([]byte{0xa5}, 300)
	for _, c := range []struct {
		name string
		h    Header
		have int
		want int
	}{
		{"payload only", Header{PID: 0x1ffe, Continuity: 15}, 300, 184},
		{"exactly full", Header{PID: 1}, 184, 184},
		{"one byte short", Header{PID: 1}, 183, 183},
		{"two bytes short", Header{PID: 1}, 182, 182},
		{"one byte", Header{PID: 1, UnitStart: true}, 1, 1},
		{"random access", Header{PID: 2, RandomAccess: true}, 300, 182},
		{"PCR", Header{PID: 2, HasPCR: true, PCR: PCRWrap - 1}, 300, 176},
		{"PCR and stuffing", Header{PID: 2, HasPCR: true, PCR: 12345678901, Discontinuity: true}, 20, 20},
		{"PCR only", Header{PID: 2, HasPCR: true, PCR: 300}, 0, 0},
		{"scrambled", Header{PID: 3, Scrambling: 3}, 300, 184},
	} {
		p := Packet(bytes.Repeat([]byte{0xee}, PacketSize)) // what was there before must not shine through
		n := p.Fill(&c.h, payload[:c.have])
		if n != c.want {
			t.Errorf("%s: %d bytes taken, want %d", c.name, n, c.want)
		}
		pcr, ok := p.PCR()
		if p[0] != SyncByte || p.PID() != c.h.PID || p.UnitStart() != c.h.UnitStart || p.Continuity() != c.h.Continuity ||
			p.Discontinuity() != c.h.Discontinuity || p.RandomAccess() != c.h.RandomAccess || p.Scrambling() != c.h.Scrambling ||
			p.Scrambled() != (c.h.Scrambling != 0) || ok != c.h.HasPCR || pcr != c.h.PCR || p.TransportError() {
			t.Errorf("%s: % x reads back differently", c.name, p[:16])
		}
		if !bytes.Equal(p.Payload(), payload[:n]) || p.HasPayload() != (n > 0) || bytes.Contains(p[:], []byte{0xee}) {
			t.Errorf("%s: payload % x", c.name, p.Payload())
		}
	}
}

func TestHostileAdaptation(t *testing.T) {
	for n := range 256 {
		var p Packet
		p.SetHeader(5, false, 0)
		p[3] |= 0x20
		p[4], p[5] = byte(n), 0xff
		if b := p.Payload(); n > 182 && b != nil || n <= 182 && len(b) != 183-n {
			t.Errorf("adaptation_field_length %d leaves %d bytes of payload", n, len(p.Payload()))
		}
		if p.RandomAccess() != (n > 0 && n <= 183) {
			t.Errorf("adaptation_field_length %d: flags are read", n)
		}
	}
	var p Packet
	p.Fill(&Header{PID: 5, HasPCR: true, PCR: 299}, nil)
	if pcr, ok := p.PCR(); !ok || pcr != 299 {
		t.Errorf("PCR %d %v", pcr, ok)
	}
	p[11] = 0xff // extension 511
	if _, ok := p.PCR(); ok {
		t.Error("a PCR extension of 511 is taken")
	}
	p[4] = 6
	if _, ok := p.PCR(); ok {
		t.Error("a PCR beyond the adaptation field is taken")
	}
	if p.SetPCR(1) {
		t.Error("a PCR is written where there is none")
	}
}

func TestSetters(t *testing.T) {
	var p Packet
	p.Fill(&Header{PID: 0x100, UnitStart: true, Continuity: 3, HasPCR: true, PCR: 1}, []byte{9})
	p.SetPID(0x1abc)
	p.SetContinuity(0x1f)
	p.SetTransportError(true)
	ok := p.SetPCR(PCRWrap + 77)
	pcr, _ := p.PCR()
	if p.PID() != 0x1abc || p.Continuity() != 15 || !p.UnitStart() || !p.TransportError() || !ok || pcr != 77 || !bytes.Equal(p.Payload(), []byte{9}) {
		t.Errorf("% x", p)
	}
	p.SetTransportError(false)
	if p.TransportError() {
		t.Error("transport_error_indicator stays")
	}
	p.SetNull()
	if p.PID() != PIDNull || p[187] != 0xff {
		t.Errorf("% x", p)
	}
}

func TestContinuity(t *testing.T) {
	type step struct {
		cc      uint8
		payload byte // 0: adaptation field only
		disc    bool
		want    Event
		lost    int
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"counts and wraps", []step{{14, 1, false, Ok, 0}, {15, 2, false, Ok, 0}, {0, 3, false, Ok, 0}}},
		{"gap", []step{{3, 1, false, Ok, 0}, {6, 2, false, Gap, 2}, {7, 3, false, Ok, 0}}},
		{"gap across the wrap", []step{{15, 1, false, Ok, 0}, {2, 2, false, Gap, 2}}},
		{"one duplicate", []step{{3, 1, false, Ok, 0}, {3, 1, false, Duplicate, 0}, {4, 2, false, Ok, 0}}},
		{"two duplicates are one too many", []step{{3, 1, false, Ok, 0}, {3, 1, false, Duplicate, 0}, {3, 1, false, Gap, 15}}},
		{"same counter, other bytes: 15 lost", []step{{3, 1, false, Ok, 0}, {3, 2, false, Gap, 15}, {4, 3, false, Ok, 0}}},
		{"adaptation only stands still", []step{{3, 1, false, Ok, 0}, {3, 0, false, Ok, 0}, {3, 0, false, Ok, 0}, {4, 2, false, Ok, 0}}},
		{"a loss before a packet without payload shows in the next with payload", []step{{3, 1, false, Ok, 0}, {5, 0, false, Ok, 0}, {6, 2, false, Gap, 2}}},
		{"the same with one lost", []step{{3, 1, false, Ok, 0}, {4, 0, false, Ok, 0}, {5, 2, false, Gap, 1}}},
		{"a multiplexer that counts packets without payload", []step{{0, 1, false, Ok, 0}, {1, 0, false, Ok, 0}, {2, 1, false, Gap, 1}, {3, 0, false, Ok, 0}, {4, 2, false, Gap, 1},
			{5, 0, false, Ok, 0}, {6, 3, false, Ok, 0}, {7, 0, false, Ok, 0}, {9, 4, false, Gap, 1}}},
		{"announced jump", []step{{3, 1, false, Ok, 0}, {9, 2, true, Jump, 0}, {10, 3, false, Ok, 0}}},
		{"announced, but it goes on", []step{{3, 1, false, Ok, 0}, {4, 2, true, Ok, 0}, {5, 3, true, Ok, 0}}},
		{"jump announced without payload", []step{{3, 1, false, Ok, 0}, {9, 0, true, Jump, 0}, {10, 3, false, Ok, 0}}},
		{"announced duplicate", []step{{3, 1, false, Ok, 0}, {4, 2, true, Ok, 0}, {4, 2, true, Duplicate, 0}, {5, 3, false, Ok, 0}}},
		{"first packet is adaptation only", []step{{7, 0, false, Ok, 0}, {8, 1, false, Ok, 0}}},
	} {
		var k Continuity
		for i, s := range c.steps {
			var p Packet
			h := Header{PID: 0x31, Continuity: s.cc, Discontinuity: s.disc}
			var payload []byte
			if s.payload != 0 {
				payload = bytes.Repeat([]byte{s.payload}, 184)
			}
			p.Fill(&h, payload)
			if got := k.Check(&p); got != s.want || got == Gap && k.Lost() != s.lost {
				t.Errorf("%s: packet %d is %v (%d lost), want %v (%d)", c.name, i, got, k.Lost(), s.want, s.lost)
			}
		}
	}
}

func TestContinuityLeavesAlone(t *testing.T) {
	var k Continuity
	var p Packet
	check := func(want Event) {
		t.Helper()
		if got := k.Check(&p); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	payload := make([]byte, 184)
	p.Fill(&Header{PID: 8, Continuity: 1}, payload)
	check(Ok)
	p.SetContinuity(9)
	p.SetTransportError(true)
	check(Ok) // not to be trusted
	p.SetTransportError(false)
	p.SetContinuity(2)
	check(Ok)
	k.Forget(8)
	p.SetContinuity(12)
	check(Ok)
	p.SetNull()
	check(Ok)
	p.SetContinuity(5)
	check(Ok)
	p.Fill(&Header{PID: 9, Continuity: 4}, payload) // another PID counts for itself
	check(Ok)
	p.Fill(&Header{PID: 8, Continuity: 15}, payload)
	check(Gap)
	if k.TotalLost() != 2 {
		t.Errorf("%d lost in all", k.TotalLost())
	}
}

// TestContinuityFollow: packets are followed as far as they are nothing but the next payload of their PID, and what Check says of all the others is the same.
func TestContinuityFollow(t *testing.T) {
	const pid = 0x31
	rng := rand.New(rand.NewPCG(3, 5))
	followed := 0
	for range 2000 {
		var run []byte
		cc := uint8(rng.IntN(16))
		for range 1 + rng.IntN(24) {
			h := Header{PID: pid, Continuity: cc & 0x0f}
			change := rng.IntN(60)
			switch change {
			case 0:
				h.PID = 0x32
			case 1:
				h.UnitStart = true
			case 2:
				h.Discontinuity = true
			case 3:
				h.HasPCR, h.PCR = true, 5
			case 4:
				cc += 3
			case 5:
				cc-- // as the one before
			}
			h.Continuity = cc & 0x0f
			var p Packet
			p.Fill(&h, bytes.Repeat([]byte{byte(rng.IntN(3))}, 184-rng.IntN(2)*rng.IntN(2)))
			switch change {
			case 6:
				p.SetTransportError(true)
			case 7:
				p[3] |= 0x80 // scrambled
			case 8:
				p[1] |= 0x20 // transport_priority
			case 9:
				p.Fill(&h, nil)
				cc--
			}
			run = append(run, p[:]...)
			if h.PID == pid {
				cc++
			}
		}
		var a, b Continuity
		for len(run) > 0 {
			n := a.Follow(pid, run)
			for i := 0; i < n; i += PacketSize {
				p := (*Packet)(run[i:])
				if ev := b.Check(p); ev != Ok || p.PID() != pid || p.UnitStart() || p.HasAdaptation() || p.Scrambled() || p.TransportError() {
					t.Fatalf("followed over a packet %x, of which Check says %v", p[:4], ev)
				}
			}
			followed += n / PacketSize
			if run = run[n:]; len(run) == 0 {
				break
			}
			p := (*Packet)(run)
			got, want := a.Check(p), b.Check(p)
			if got != want {
				t.Fatalf("%v after Follow, %v without, of %x", got, want, p[:4])
			}
			run = run[PacketSize:]
		}
	}
	if followed < 5000 {
		t.Errorf("only %d packets followed", followed)
	}
}

func TestPESRoundTrip(t *testing.T) {
	for _, h := range []PES{
		{StreamID: 0xe0, PTS: 1<<33 - 1, DTS: 1<<33 - 3004, HasPTS: true, HasDTS: true, DataAlignment: true, HeaderLen: 19},
		{StreamID: 0xc0, Length: 1000, PTS: 1 << 32, DTS: 1 << 32, HasPTS: true, HeaderLen: 14},
		{StreamID: 0xbd, Length: 7, HeaderLen: 9},
		{StreamID: 0xbe, Length: 10, HeaderLen: 6},
	} {
		b := h.Append(nil)
		if len(b) != h.HeaderLen {
			t.Errorf("%+v takes %d bytes", h, len(b))
		}
		got, err := ParsePES(append(b, 1, 2, 3))
		if err != nil || got != h {
			t.Errorf("%+v becomes %+v, %v", h, got, err)
		}
		for i := range b {
			if _, err := ParsePES(b[:i]); err == nil {
				t.Errorf("%+v cut at %d is taken", h, i)
			}
		}
	}
}

func TestPESRefuses(t *testing.T) {
	good := PES{StreamID: 0xe0, PTS: 90000, HasPTS: true}.Append(nil)
	for name, change := range map[string]func(b []byte){
		"start code":                 func(b []byte) { b[2] = 2 },
		"stream id":                  func(b []byte) { b[3] = 0xb8 },
		"MPEG-1 header":              func(b []byte) { b[6] = 0x0f },
		"forbidden PTS_DTS_flags":    func(b []byte) { b[7] = 0x40 },
		"no room for the PTS":        func(b []byte) { b[8] = 4 },
		"marker bit of the PTS":      func(b []byte) { b[11] &^= 1 },
		"DTS announced without room": func(b []byte) { b[7] = 0xc0 },
	} {
		b := bytes.Clone(good)
		change(b)
		if _, err := ParsePES(b); err != ErrPES {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestElementary(t *testing.T) {
	header := PES{StreamID: 0xe0, PTS: 90000, HasPTS: true}.Append(nil)
	var b []byte
	packet := func(pid PID, counter uint8, start bool, payload string) {
		var p Packet
		p.Fill(&Header{PID: pid, UnitStart: start, Continuity: counter}, []byte(payload))
		b = append(b, p[:]...)
	}
	packet(0x31, 0, true, string(header)+"one ")
	packet(0x34, 0, true, string(header)+"another PID")
	packet(0x31, 1, false, "two ")
	packet(0x31, 1, false, "two ") // the second copy
	packet(0x31, 2, true, string(header)+"three")
	stream, begins := Elementary(b, 0x31)
	if string(stream) != "one two three" || len(begins) != 2 || begins[0].At != 0 || begins[1].At != 8 || begins[1].PTS != 90000 {
		t.Errorf("%q %+v", stream, begins)
	}
}

func FuzzPES(f *testing.F) {
	f.Add(PES{StreamID: 0xe0, PTS: 1, DTS: 2, HasPTS: true, HasDTS: true}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParsePES(b)
		if err == nil && h.HeaderLen > len(b) {
			t.Fatalf("%d bytes of header in %d", h.HeaderLen, len(b))
		}
	})
}

func TestTakePCR(t *testing.T) {
	payload := []byte("elementary stream")
	var with, without Packet
	with.Fill(&Header{PID: 0x31, RandomAccess: true, HasPCR: true, PCR: 12345}, payload)
	without.Fill(&Header{PID: 0x31, RandomAccess: true}, payload)
	if with == without || !with.TakePCR() || with != without {
		t.Errorf("% x, want % x", with[:16], without[:16])
	}
	if with.TakePCR() {
		t.Error("there is no other PCR")
	}
	with.Fill(&Header{PID: 0x31, HasPCR: true}, payload)
	with[5] |= 0x04 // splicing_point_flag, H.222.0 table 2-6
	with[12] = 0x7f
	if !with.TakePCR() || with[6] != 0x7f || with[12] != 0xff || !bytes.Equal(with.Payload(), payload) {
		t.Errorf("% x", with[:20])
	}
}
