package settings

import "testing"

func TestOr(t *testing.T) {
	for _, c := range []struct{ v, want int }{{0, 7}, {3, 3}, {-1, 0}, {Of(0), 0}, {Of(5), 5}, {Of(-2), 0}} {
		if got := Or(c.v, 7); got != c.want {
			t.Errorf("Or(%d, 7) = %d, want %d", c.v, got, c.want)
		}
	}
}
