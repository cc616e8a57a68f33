package chop_test

import (
	"bytes"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/ts"
)

// TestTSNamesGaps: who gets a transport stream alone is told which chunks are left out, and in which ones packets are missing.
func TestTSNamesGaps(t *testing.T) {
	for _, tt := range []struct {
		scope     string
		want, not string
		lines     int
	}{
		{"broadcast", `msg="gap: a chunk is left out" pts=.* reason=damaged`, "packets of a chunk", 2}, // and the last one
		{"all", `msg="gap: packets of a chunk are missing" pts=.* damage="continuity 1"`, "left out", 1},
	} {
		t.Run(tt.scope, func(t *testing.T) {
			m, s := mux(t, "5.1")
			n := 0
			in := filtered(m.Reader(epoch, epoch.Add(20*time.Second), s.Program), func(p *ts.Packet) bool {
				if p.PID() == s.PID+1 {
					n++
				}
				return n != 300
			})
			var log bytes.Buffer
			w, err := chop.NewTSWriter(io.Discard, tt.scope)
			if err != nil {
				t.Fatal(err)
			}
			w.Log = slog.New(slog.NewTextHandler(&log, nil))
			if _, err := chop.Run(t.Context(), chop.Config{Source: "x"}, in, w); err != nil {
				t.Fatal(err)
			}
			if said := log.String(); !regexp.MustCompile(tt.want).MatchString(said) || strings.Contains(said, tt.not) || strings.Count(said, "gap: ") != tt.lines {
				t.Errorf("said\n%s", said)
			}
		})
	}
}
