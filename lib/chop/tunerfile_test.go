package chop_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
)

// What the file of ec-tune --health says counts while it is fresh; what is wrong with it is logged once.
func TestTunerFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tuner")
	var logged bytes.Buffer
	read := chop.TunerFile(name, slog.New(slog.NewTextHandler(&logged, nil)))
	n := 77
	line := func(age time.Duration) string {
		b, err := catalog.Tuner{UTC: catalog.TimeOf(time.Now().Add(-age)), Strength: &n}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct {
		what, holds string
		there, logs bool
	}{
		{"fresh", line(time.Second), true, false},
		{"old", line(time.Minute), false, false},
		{"of tomorrow", line(-24 * time.Hour), false, false},
		{"no JSON", "ss 77", false, true},
		{"again", "ss 77", false, false},
		{"fresh after all", line(0), true, false},
		{"another version", strings.Replace(line(0), `"v":1`, `"v":2`, 1), false, true},
		{"fresh", line(0), true, false},
		{"out of range", strings.Replace(line(0), "77", "777", 1), false, true},
		{"fresh", line(0), true, false},
		{"too long", line(0) + strings.Repeat(" ", catalog.MaxTunerBytes), false, true},
	} {
		if err := os.WriteFile(name, []byte(c.holds), 0o600); err != nil {
			t.Fatal(err)
		}
		logged.Reset()
		got := read()
		if (got != nil) != c.there || (logged.Len() > 0) != c.logs {
			t.Errorf("%s: %+v, %s", c.what, got, logged.String())
		}
		if got != nil && *got.Strength != n {
			t.Errorf("%s: %d", c.what, *got.Strength)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	logged.Reset()
	if got := read(); got != nil || logged.Len() > 0 {
		t.Errorf("no file: %+v, %s", got, logged.String())
	}
}
