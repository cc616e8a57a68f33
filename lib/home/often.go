package home

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// often keeps a log short: a line of the same words about the same thing comes again only after oneEach, with how many were left out.
type often struct {
	mu    sync.Mutex // guards lines
	lines map[string]*line
}

type line struct {
	at   time.Time
	left int
}

// maxLines bounds what is remembered; beyond it everything is forgotten, and some lines come again sooner.
const maxLines = 1000

func (o *often) log(log *slog.Logger, level slog.Level, msg string, attrs ...any) {
	// The first two attributes say whose line it is.
	key := msg + fmt.Sprint(attrs[:min(2, len(attrs))]...)
	o.mu.Lock()
	if len(o.lines) >= maxLines || o.lines == nil {
		o.lines = map[string]*line{}
	}
	l := o.lines[key]
	now := time.Now()
	if l != nil && now.Sub(l.at) < oneEach {
		l.left++
		o.mu.Unlock()
		log.Debug(msg, attrs...)
		return
	}
	if l != nil && l.left > 0 {
		attrs = append(attrs, "left_out", l.left)
	}
	o.lines[key] = &line{at: now}
	o.mu.Unlock()
	log.Log(context.Background(), level, msg, attrs...)
}

func (o *often) warn(log *slog.Logger, msg string, attrs ...any) {
	o.log(log, slog.LevelWarn, msg, attrs...)
}

// speed is a rate over the last second or so.
type speed struct {
	at    time.Time
	bytes int64
}

// add takes a total, and returns Mbit/s since the last one.
func (s *speed) add(now time.Time, bytes int64) float64 {
	d := now.Sub(s.at).Seconds()
	mbit := 0.0
	if !s.at.IsZero() && d > 0 {
		mbit = float64(bytes-s.bytes) * 8 / 1e6 / d
	}
	s.at, s.bytes = now, bytes
	return max(mbit, 0)
}
