package cmdutil

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"0", 0, ""},
		{"90s", 90 * time.Second, "1m30s"},
		{"10m", 10 * time.Minute, "10m"},
		{"48h", 2 * day, "2d"},
		{"2d", 2 * day, "2d"},
		{"1w", 7 * day, "7d"},
		{"1d12h", 36 * time.Hour, "36h"},
		{"100h30m", 100*time.Hour + 30*time.Minute, "100h30m"},
		{"-1h", -time.Hour, "-1h"},
	} {
		var a Age
		if err := a.Set(test.text); err != nil || time.Duration(a) != test.want || a.String() != test.back {
			t.Errorf("%s: %v, %q, %v", test.text, time.Duration(a), a.String(), err)
		}
	}
	for _, text := range []string{"", "soon", "d", "2days", "1h2d", "-2d", "1e9w", "NaNd", "-nanw", "infd"} {
		if a := Age(0); a.Set(text) == nil {
			t.Errorf("%q is %v", text, time.Duration(a))
		}
	}
}
