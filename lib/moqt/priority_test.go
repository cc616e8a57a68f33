package moqt

import (
	"testing"

	"every.channel/ec/lib/moqt/wire"
)

// TestUrgencyKeepsTheOrder: subscriber priority decides before publisher priority (§7.2), whatever is merged.
func TestUrgencyKeepsTheOrder(t *testing.T) {
	last := int8(0)
	for _, s := range []uint8{0, 1, 63, 64, 127, 128, 129, 192, 193, 255} {
		for _, p := range []uint8{0, 127, 128, 129, 255} {
			u := urgency(s, p)
			if u < last || u <= urgencyControl || u > 7 {
				t.Errorf("subscriber %d, publisher %d: urgency %d after %d", s, p, u, last)
			}
			last = u
		}
	}
	for _, pair := range [][4]uint8{ // first pair strictly before the second
		{63, 255, 64, 0}, {127, 255, 128, 0}, {128, 127, 128, 128}, {128, 128, 128, 129}, {128, 255, 129, 0}, {192, 255, 193, 0},
	} {
		if urgency(pair[0], pair[1]) >= urgency(pair[2], pair[3]) {
			t.Errorf("%v", pair)
		}
	}
	if incremental(wire.GroupOrderAscending) || !incremental(wire.GroupOrderDescending) {
		t.Error("ascending groups go in order of opening, descending ones in turns")
	}
}
