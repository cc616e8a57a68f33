package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A hundred slow viewers miss a group each second, so that warnings of every group would fill a disk. missPause is how long a subscriber
// is silent after its warning; missBurst warnings of different subscribers may come at once, and one more every missEvery.
const (
	missPause = time.Minute
	missBurst = 20
	missEvery = 10 * time.Second
)

// misses bounds the lines about groups that subscribers do not get. What is not a warning is a detail (debug), and the next warning says
// how many there were.
type misses struct {
	mu     sync.Mutex
	spent  time.Time // the time up to which warnings are used: it lies ahead of now by what is used of the burst
	unsaid int
}

// say logs one group that subscriber s does not get to its end.
func (m *misses) say(log *slog.Logger, s *subscriber, msg string, args ...any) {
	level, unsaid := m.level(s, time.Now())
	if unsaid > 0 {
		args = append(args, "unsaid", unsaid)
	}
	log.Log(context.Background(), level, msg, args...)
}

func (m *misses) level(s *subscriber, now time.Time) (_ slog.Level, unsaid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if idle := now.Add(-missBurst * missEvery); m.spent.Before(idle) {
		m.spent = idle
	}
	if now.Sub(s.missed) < missPause || m.spent.Add(missEvery).After(now) {
		m.unsaid++
		return slog.LevelDebug, 0
	}
	s.missed, m.spent = now, m.spent.Add(missEvery)
	unsaid, m.unsaid = m.unsaid, 0
	return slog.LevelWarn, unsaid
}
