package ts

import "testing"

// TestContinuityWithoutPayload: the counter of a packet without payload counts where it is the one that others are to go on from: behind a
// packet without payload that has discontinuity_indicator.
func TestContinuityWithoutPayload(t *testing.T) {
	type packet struct {
		payload, flag bool
		cc            uint8
		want          Event
	}
	for name, list := range map[string][]packet{
		"stands still":                    {{true, false, 4, Ok}, {false, false, 4, Ok}, {true, false, 5, Ok}},
		"is not looked at":                {{true, false, 4, Ok}, {false, false, 9, Ok}, {true, false, 5, Ok}},
		"announces a jump":                {{true, false, 4, Ok}, {false, true, 9, Jump}, {false, false, 9, Ok}, {true, false, 10, Ok}},
		"shows sixteen that were lost":    {{true, false, 4, Ok}, {false, true, 9, Jump}, {false, false, 14, Gap}, {false, false, 9, Gap}, {true, false, 10, Ok}},
		"announces no jump of a counter":  {{true, false, 4, Ok}, {false, true, 4, Ok}, {false, false, 9, Gap}, {true, false, 10, Ok}},
		"is not looked at behind payload": {{true, false, 4, Ok}, {false, true, 9, Jump}, {true, false, 10, Ok}, {false, false, 3, Ok}, {true, false, 11, Ok}},
	} {
		var c Continuity
		for i, p := range list {
			var b Packet
			var payload []byte
			if p.payload {
				payload = []byte{byte(i), 1, 2}
			}
			b.Fill(&Header{PID: 0x100, Continuity: p.cc, Discontinuity: p.flag, HasPCR: !p.payload}, payload)
			if got := c.Check(&b); got != p.want {
				t.Errorf("%s: packet %d: %v, want %v", name, i, got, p.want)
			}
		}
	}
}

// TestDuplicate: a packet is the copy of the one before only if it repeats every byte but the PCR (H.222.0 §2.4.3.3); else 15 packets are missing.
func TestDuplicate(t *testing.T) {
	payload := make([]byte, 150)
	for _, pcr := range []bool{false, true} {
		var first Packet
		first.Fill(&Header{PID: 0x100, UnitStart: true, HasPCR: pcr, PCR: 12345}, payload)
		for at := 1; at < PacketSize; at++ {
			if at == 2 || at == 3 { // another PID, another kind of packet
				continue
			}
			again := first
			again[at] ^= 0x40
			if at == 1 { // transport_priority
				again[at] ^= 0x60
			}
			if at == 4 || at == 5 && pcr { // the lengths must go on being right
				continue
			}
			want := Gap
			if pcr && at >= 6 && at < 12 {
				want = Duplicate
			}
			var c Continuity
			c.Check(&first)
			if got := c.Check(&again); got != want || got == Gap && c.Lost() != 15 {
				t.Errorf("PCR %v, byte %d differs: %v, %d lost, want %v", pcr, at, got, c.Lost(), want)
			}
			if got := c.Check(&again); want == Duplicate && got != Gap {
				t.Errorf("PCR %v, a third copy: %v", pcr, got)
			}
		}
		var c Continuity
		c.Check(&first)
		if got := c.Check(&first); got != Duplicate {
			t.Errorf("PCR %v, the same once more: %v", pcr, got)
		}
	}
}
