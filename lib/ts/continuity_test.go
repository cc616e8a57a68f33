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
