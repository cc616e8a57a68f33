package mesh

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/object"
)

// Library is what a mirror works on: a relay with its store and its peers.
type Library interface {
	// Tracks are those to be mirrored that are here or at peers, each with a text that changes when peers come, go or hear of it.
	Tracks() map[string]Track
	// Inventory is what peers have of a track from a group on, ascending.
	Inventory(ctx context.Context, t object.TrackName, from uint64) ([]Group, error)
	// Lacks reports whether peers have something of a group that is not here.
	Lacks(t object.TrackName, g Group) bool
	// Tail is a group before which a track is not expected to grow.
	Tail(t object.TrackName) uint64
	// Bring fetches what is not here of some groups, ascending and without a group that is here between two, from whichever peer has it, checked by its hashes. pace is called before each
	// payload.
	Bring(ctx context.Context, t object.TrackName, groups []Group, pace func(ctx context.Context, bytes int) error)
	// Room reports whether more may be stored without something being removed.
	Room() bool
	// Changes is woken when Tracks may have changed.
	Changes() (wake <-chan struct{}, stop func())
}

// Track is one to be mirrored.
type Track struct {
	Name object.TrackName
	At   string // which peers have it
}

// Group is what is known of a group at a peer.
type Group struct {
	ID      uint64
	Whole   bool
	Objects uint64 // of one that is not whole
}

// Mirror keeps a whole copy of tracks: what peers have of them and is not here is fetched, the newest first. What is live the relay
// subscribes to by itself.
type Mirror struct {
	Library Library
	// Rate bounds what is fetched, in bytes of payload a second. Default 0: no bound.
	Rate int64
	// Logger gets what was fetched. Default: none.
	Logger *slog.Logger

	missing atomic.Int64
	brought atomic.Int64
}

// Times of a mirror.
const (
	tailInterval = 5 * time.Second  // between looks at what is new
	fullInterval = 10 * time.Minute // between looks at all, if peers have not changed
	lookPause    = time.Second      // between looks, however much changes
)

// batch is how many groups are asked for at a time: few enough that the newest are soon there.
const batch = 8

// Missing is how many groups peers had at the last look that are not here yet.
func (m *Mirror) Missing() int64 { return m.missing.Load() }

// Brought is how many groups were fetched.
func (m *Mirror) Brought() int64 { return m.brought.Load() }

// look is what is remembered of a track.
type look struct {
	at   string // as Track.At
	full time.Time
}

// Run fetches what is missing until ctx ends.
func (m *Mirror) Run(ctx context.Context) {
	if m.Logger == nil {
		m.Logger = slog.New(slog.DiscardHandler)
	}
	wake, stop := m.Library.Changes()
	defer stop()
	p := &pacer{rate: m.Rate}
	looks := make(map[string]*look)
	for ctx.Err() == nil {
		m.round(ctx, looks, p)
		select { // peers that come at the same time are looked at once
		case <-ctx.Done():
			return
		case <-time.After(lookPause):
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-time.After(tailInterval):
		}
	}
}

// round looks at every track once and fetches what it finds.
func (m *Mirror) round(ctx context.Context, looks map[string]*look, p *pacer) {
	var queues []*queue
	var missing int64
	tracks := m.Library.Tracks()
	for key, t := range tracks {
		l := looks[key]
		if l == nil {
			l = &look{}
			looks[key] = l
		}
		from, full := m.Library.Tail(t.Name), false
		if l.at != t.At || time.Since(l.full) >= fullInterval {
			from, full = 0, true
		}
		list, err := m.Library.Inventory(ctx, t.Name, from)
		if err != nil {
			m.Logger.Debug("peers do not say what they have", "track", key, "err", err)
			continue
		}
		if full {
			l.at, l.full = t.At, time.Now()
		}
		if q := newQueue(t.Name, list, func(g Group) bool { return m.Library.Lacks(t.Name, g) }); len(q.runs) > 0 {
			queues, missing = append(queues, q), missing+int64(q.groups)
		}
	}
	m.missing.Store(missing)
	before := m.brought.Load()
	for len(queues) > 0 && ctx.Err() == nil {
		for _, q := range queues { // in turn, so that the newest of all tracks come first
			if !m.Library.Room() {
				m.Logger.Warn("no room for older groups, the mirror is not whole", "groups", m.missing.Load())
				return
			}
			r := q.next()
			m.Library.Bring(ctx, q.name, r, p.wait)
			for _, g := range r {
				if !m.Library.Lacks(q.name, g) {
					m.missing.Add(-1)
					m.brought.Add(1)
				}
			}
		}
		queues = slices.DeleteFunc(queues, func(q *queue) bool { return len(q.runs) == 0 })
	}
	if n := m.brought.Load() - before; n > 0 {
		m.Logger.Info("mirrored", "groups", n, "missing", m.missing.Load())
	}
}

// queue is what is missing of a track.
type queue struct {
	name   object.TrackName
	runs   [][]Group // each ascending and without a group that is here between two; the newest run last
	groups int
}

func newQueue(name object.TrackName, list []Group, lacks func(Group) bool) *queue {
	q := &queue{name: name}
	var run []Group
	for _, g := range list {
		if !lacks(g) {
			if len(run) > 0 {
				q.runs, run = append(q.runs, run), nil
			}
			continue
		}
		run = append(run, g)
		q.groups++
	}
	if len(run) > 0 {
		q.runs = append(q.runs, run)
	}
	return q
}

// next takes the newest groups.
func (q *queue) next() []Group {
	i := len(q.runs) - 1
	run := q.runs[i]
	cut := max(len(run)-batch, 0)
	if q.runs[i] = run[:cut]; cut == 0 {
		q.runs = q.runs[:i]
	}
	return run[cut:]
}

// pacer spreads bytes over time.
type pacer struct {
	rate int64

	mu   sync.Mutex
	next time.Time
}

// wait waits until so many bytes more may come.
func (p *pacer) wait(ctx context.Context, bytes int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	pause := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
