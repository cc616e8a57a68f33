package cmdutil

import (
	"testing"
	"time"
)

func TestRetain(t *testing.T) {
	for _, test := range []struct {
		text string
		want Retain
		back string
	}{
		{"12h", Retain{Age: 12 * time.Hour}, "12h"},
		{"90m", Retain{Age: 90 * time.Minute}, "1h30m"},
		{"2d", Retain{Age: 48 * time.Hour}, "2d"},
		{"1w", Retain{Age: 7 * 24 * time.Hour}, "7d"},
		{"1w1d12h", Retain{Age: 204 * time.Hour}, "204h"},
		{"1.5d", Retain{Age: 36 * time.Hour}, "36h"},
		{"50G", Retain{Bytes: 50 << 30}, "50G"},
		{"2d,50G", Retain{Age: 48 * time.Hour, Bytes: 50 << 30}, "2d,50G"},
		{"50G,2d", Retain{Age: 48 * time.Hour, Bytes: 50 << 30}, "2d,50G"},
	} {
		var r Retain
		if err := r.Set(test.text); err != nil || r != test.want || r.String() != test.back {
			t.Errorf("%s: %+v, %q, %v", test.text, r, r.String(), err)
		}
	}
	for _, text := range []string{"", "0", "0s", "-1h", "2x", "2d,3d", "1G,2G", "2d,", "dG", "1d2w"} {
		if r := (Retain{}); r.Set(text) == nil {
			t.Errorf("%q is %+v", text, r)
		}
	}
}
