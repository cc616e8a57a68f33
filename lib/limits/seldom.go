package limits

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// Seldom bounds log lines that peers can cause: one a second is a warning, and others are details. The zero value works.
type Seldom struct{ last atomic.Int64 }

// Level is that of a line that is written now.
func (s *Seldom) Level() slog.Level {
	now, last := time.Now().UnixNano(), s.last.Load()
	if (now-last > int64(time.Second) || now < last) && s.last.CompareAndSwap(last, now) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
