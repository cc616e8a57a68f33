package wire

import (
	"encoding/hex"
	"testing"
)

// Blocks as they stand on the wire of draft 20, by hand from draft-19 §8: types are differences, integers the draft's own.
func TestSubgroupTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		block string
		want  SubgroupTimeouts
	}{
		"none":                {"", SubgroupTimeouts{}},
		"of objects":          {"0283e8", SubgroupTimeouts{Object: 1000, HasObject: true}},
		"of the subgroup":     {"0687d0", SubgroupTimeouts{Subgroup: 2000, HasSubgroup: true}},
		"both, and between":   {"0283e802000287d0", SubgroupTimeouts{Object: 1000, HasObject: true, Subgroup: 2000, HasSubgroup: true}},
		"0 is no timeout":     {"02000400", SubgroupTimeouts{HasObject: true, HasSubgroup: true}},
		"behind an odd one":   {"0102ffff0505", SubgroupTimeouts{Subgroup: 5, HasSubgroup: true}},
		"only others":         {"0400" + "3a01", SubgroupTimeouts{}},
		"before greater ones": {"0205" + "3c00", SubgroupTimeouts{Object: 5, HasObject: true}},
	} {
		b, err := hex.DecodeString(c.block)
		if err != nil {
			t.Fatal(err)
		}
		held, err := heldObjectProperties(b, Draft20)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := ParseSubgroupTimeouts(held); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if n := testing.AllocsPerRun(10, func() { ParseSubgroupTimeouts(held) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, bad := range []string{"02", "01ff", "0243"} {
		b, _ := hex.DecodeString(bad)
		if got := ParseSubgroupTimeouts(b); got != (SubgroupTimeouts{}) {
			t.Errorf("of the malformed %s: %+v", bad, got)
		}
	}
}
