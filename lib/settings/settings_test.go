package settings

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestOr(t *testing.T) {
	for _, c := range []struct{ v, want int }{{0, 7}, {3, 3}, {-1, 0}, {Of(0), 0}, {Of(5), 5}, {Of(-2), 0}} {
		if got := Or(c.v, 7); got != c.want {
			t.Errorf("Or(%d, 7) = %d, want %d", c.v, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf")
	os.WriteFile(path, []byte("# all\n\nlisten=[::1]:4443 # here\n store = a b#c \nempty =\n"), 0o644)
	got, err := Read(path, "ec-x")
	want := []Line{{"listen", "[::1]:4443", 3}, {"store", "a b#c", 4}, {"empty", "", 5}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}
