package relay

import (
	"log/slog"
	"testing"
	"time"
)

func TestMissesAreBounded(t *testing.T) {
	t.Parallel()
	var m misses
	viewers := make([]subscriber, 150)
	now := time.Unix(1700000000, 0)
	warned := make(map[*subscriber]bool)
	warnings, counted := 0, 0
	for range 3600 { // each of them misses a group each second, for an hour
		for i := range viewers {
			level, unsaid := m.level(&viewers[i], now)
			if level != slog.LevelWarn {
				continue
			}
			warnings++
			counted += 1 + unsaid
			warned[&viewers[i]] = true
		}
		now = now.Add(time.Second)
	}
	if most := missBurst + int(time.Hour/missEvery) + 1; warnings > most || warnings < most/2 {
		t.Errorf("%d warnings in an hour, want at most %d and not much fewer", warnings, most)
	}
	if counted+m.unsaid != 150*3600 {
		t.Errorf("the warnings count %d groups and %d are left, want %d in all", counted, m.unsaid, 150*3600)
	}
	// After a quiet time a subscriber's first miss is a warning, and the next one is not.
	var s subscriber
	now = now.Add(time.Hour)
	if level, _ := m.level(&s, now); level != slog.LevelWarn {
		t.Errorf("the first miss has level %v", level)
	}
	if level, _ := m.level(&s, now.Add(missPause/2)); level != slog.LevelDebug {
		t.Errorf("the next miss has level %v", level)
	}
	if level, _ := m.level(&s, now.Add(missPause)); level != slog.LevelWarn {
		t.Errorf("a miss after the pause has level %v", level)
	}
}
