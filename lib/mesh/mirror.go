package mesh

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/object"
)

// Library is what a mirror works on: a relay with its store and its peers.
type Library interface {
	// Tracks returns the tracks to be mirrored that peers tell of, each with a text that changes when peers come, go or hear of
	// it. A track may stand there more than once, each time with other peers.
	Tracks() map[string]Track
	// Inventory returns the groups that the peers of a track have of it, ascending, from a group on.
	Inventory(ctx context.Context, t Track, from uint64) ([]Group, error)
	// Lacks reports whether peers have objects of a group that are not here.
	Lacks(t object.TrackName, g Group) bool
	// Tail returns a group before which a track is not expected to get new groups; 0: no group is here.
	Tail(t object.TrackName) uint64
	// Bring fetches the missing objects of some groups from whichever peer of the track has them, checked by their hashes. The
	// groups are ascending, and no group between two of them is here. pace is called before each payload.
	Bring(ctx context.Context, t Track, groups []Group, pace func(ctx context.Context, bytes int) error)
	// Room returns nil if more of a track may be stored without removing anything, else why not.
	Room(t object.TrackName) error
	// Changes gives a channel that is woken when Tracks may have changed.
	Changes() (wake <-chan struct{}, stop func())
}

// Track is a track to be mirrored.
type Track struct {
	Name  object.TrackName
	At    string   // a text that names the peers which have it
	Peers []string // those peers, one by one
}

// Group is what a peer says of one group.
type Group struct {
	ID      uint64
	Objects uint64 // how many objects it has, if it is not whole
	Whole   bool

	apart bool // groups before it may be here, so it must not be fetched together with them
}

// Mirror keeps a whole copy of tracks: it fetches everything that peers have and that is not here, the newest first. The relay
// subscribes to live tracks by itself. The tracks that a peer tells of are looked at in a lane of that peer, so a peer that tells
// of many tracks, or is slow, delays no other.
type Mirror struct {
	Library Library
	// Rate bounds the bytes of payload a second that are fetched. Default 0: no bound.
	Rate int64
	// Word is how the log calls it, and Done what it has done. Default "mirror" and "mirrored".
	Word, Done string
	// Logger gets events. Default: none.
	Logger *slog.Logger

	brought atomic.Int64
	running atomic.Int64 // lanes

	mu    sync.Mutex // guards what follows
	lanes map[string]*lane
	full  error // why nothing is fetched at the moment
	since time.Time
}

// Times of a mirror.
const (
	tailInterval = 5 * time.Second  // between looks at the newest groups
	fullInterval = 10 * time.Minute // between looks at all groups, if peers have not changed, and at tracks of which nothing came
	lookPause    = time.Second      // the least pause between looks, however much changes
	roomPause    = time.Minute      // the pause after there was no room
)

const (
	// looksAtOnce is how many tracks of a peer are looked at at a time, because each look takes a round trip at least.
	looksAtOnce = 4
	// batch is how many groups are asked for at a time: few enough that the newest ones are soon here.
	batch = 8
	// patience is how many looks in succession may find nothing of a track of which nothing is here.
	patience = 3
	// maxMissing bounds the groups of a track, and maxMissingOfAll those of all lanes, that are remembered as missing; each lane
	// has the same share. The newest are remembered; the others are looked for when these are here.
	maxMissing, maxMissingOfAll = 1 << 14, 1 << 18
)

// Missing returns how many groups peers had at the last look that are not here yet.
func (m *Mirror) Missing() (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lanes {
		n += l.missing.Load()
	}
	return n
}

// Brought returns how many groups were fetched successfully.
func (m *Mirror) Brought() int64 { return m.brought.Load() }

// Paused returns why nothing is fetched at the moment though groups are missing; nil if fetching goes on.
func (m *Mirror) Paused() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.full
}

// Progress returns how far fetching has come.
func (m *Mirror) Progress() *Progress {
	p := &Progress{Missing: m.Missing(), Brought: m.Brought()}
	if err := m.Paused(); err != nil {
		p.Paused = err.Error()
	}
	return p
}

// Run fetches what is missing until ctx ends.
func (m *Mirror) Run(ctx context.Context) {
	if m.Logger == nil {
		m.Logger = slog.New(slog.DiscardHandler)
	}
	m.Word, m.Done = cmp.Or(m.Word, "mirror"), cmp.Or(m.Done, "mirrored")
	wake, stop := m.Library.Changes()
	defer stop()
	m.mu.Lock()
	m.lanes = make(map[string]*lane)
	m.mu.Unlock()
	p := &pacer{rate: m.Rate}
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		began := time.Now()
		m.assign(m.Library.Tracks(), func(l *lane) {
			running.Go(func() { l.run(ctx, p) })
		})
		select { // peers that come at the same time are looked at together, and many tracks take little of the time
		case <-ctx.Done():
			return
		case <-time.After(max(lookPause, 4*time.Since(began))):
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-time.After(tailInterval):
		}
	}
}

// assign gives each track to the lane of the peer that tells of the fewest tracks, or leaves it in its lane. Lanes without a
// track end.
func (m *Mirror) assign(tracks map[string]Track, start func(*lane)) {
	load := make(map[string]int)
	for _, t := range tracks {
		for _, p := range t.Peers {
			load[p]++
		}
	}
	of := make(map[string]map[string]Track, len(load))
	for key, t := range tracks {
		if len(t.Peers) == 0 {
			continue
		}
		p := slices.MinFunc(t.Peers, func(a, b string) int { return cmp.Or(cmp.Compare(load[a], load[b]), cmp.Compare(a, b)) })
		if of[p] == nil {
			of[p] = make(map[string]Track)
		}
		of[p][key] = t
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, tracks := range of {
		l := m.lanes[p]
		if l == nil {
			l = &lane{m: m, wake: make(chan struct{}, 1), over: make(chan struct{}), looks: make(map[string]*look)}
			m.lanes[p] = l
			start(l)
		}
		l.set(tracks)
	}
	for p, l := range m.lanes {
		if of[p] == nil {
			close(l.over)
			delete(m.lanes, p)
		}
	}
	m.running.Store(int64(len(m.lanes)))
}

// pause notes that there is no room, or with nil that there is room again; a change is logged once.
func (m *Mirror) pause(why error) {
	m.mu.Lock()
	was := m.full
	m.full = why
	if why != nil {
		m.since = time.Now()
	}
	m.mu.Unlock()
	switch {
	case why != nil && was == nil:
		m.Logger.Warn(m.Word+" pauses, the copy is not whole", "missing", m.Missing(), "err", why)
	case why == nil && was != nil:
		m.Logger.Info(m.Word+" goes on", "missing", m.Missing())
	}
}

// pausing reports whether there was no room a moment ago.
func (m *Mirror) pausing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.full != nil && time.Since(m.since) < roomPause
}

// lane holds the tracks that are looked at and fetched from one peer.
type lane struct {
	m       *Mirror
	wake    chan struct{} // tracks changed
	over    chan struct{}
	missing atomic.Int64
	looks   map[string]*look

	mu     sync.Mutex // guards what follows
	tracks map[string]Track
}

// look is what is remembered of a track.
type look struct {
	at      string // as Track.At
	last    time.Time
	full    time.Time
	empty   int     // how many looks in succession found nothing
	missing []Group // ascending
	more    int     // older ones, not remembered

	vain     []Group // groups that were asked for and that nobody brought
	failures int     // how often that happened in succession
	retry    time.Time
}

// set replaces the tracks.
func (l *lane) set(tracks map[string]Track) {
	l.mu.Lock()
	changed := !maps.EqualFunc(l.tracks, tracks, func(a, b Track) bool { return a.At == b.At })
	l.tracks = tracks
	l.mu.Unlock()
	if changed {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// run looks at the tracks and fetches what they lack, until ctx or the lane ends.
func (l *lane) run(ctx context.Context, p *pacer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-l.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		l.mu.Lock()
		tracks := l.tracks
		l.mu.Unlock()
		maps.DeleteFunc(l.looks, func(key string, _ *look) bool { _, ok := tracks[key]; return !ok })
		began := time.Now()
		l.lookAt(ctx, tracks)
		l.count()
		if l.bring(ctx, tracks, p, max(tailInterval, time.Since(began))) { // more groups are missing; they wait for a look at the newest
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookPause):
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-time.After(tailInterval - lookPause):
		}
	}
}

// lookAt looks at all tracks, at a few at a time.
func (l *lane) lookAt(ctx context.Context, tracks map[string]Track) {
	for key := range tracks {
		if l.looks[key] == nil {
			l.looks[key] = &look{}
		}
	}
	var looking errgroup.Group
	looking.SetLimit(looksAtOnce)
	for key, t := range tracks {
		if ctx.Err() != nil {
			break
		}
		k := l.looks[key]
		looking.Go(func() error {
			l.look(ctx, key, t, k)
			return nil
		})
	}
	looking.Wait()
}

// look asks which groups peers have of a track, if that is due.
func (l *lane) look(ctx context.Context, key string, t Track, k *look) {
	m, now := l.m, time.Now()
	from, full := m.Library.Tail(t.Name), false
	switch known := k.at == t.At; {
	case !known || now.Sub(k.full) >= fullInterval, len(k.missing)+len(k.vain) == 0 && k.more > 0:
		from, full = 0, true
	case now.Sub(k.last) < tailInterval, from == 0 && k.empty >= patience:
		return
	}
	k.last = now
	list, err := m.Library.Inventory(ctx, t, from)
	if err != nil {
		m.Logger.Debug("peers do not say what they have", "track", key, "err", err)
		return
	}
	if k.empty++; len(list) > 0 {
		k.empty = 0
	}
	if full {
		if k.at != t.At {
			k.failures, k.retry = 0, time.Time{}
		}
		k.at, k.full, k.more = t.At, now, 0
	}
	lacks := func(g Group) bool { return m.Library.Lacks(t.Name, g) }
	k.vain = lacking(k.vain, lacks)
	inVain := make(map[uint64]bool, len(k.vain))
	for _, g := range k.vain {
		inVain[g.ID] = true
	}
	list = slices.DeleteFunc(lacking(list, lacks), func(g Group) bool { return inVain[g.ID] })
	if full {
		k.missing = list
	} else {
		k.missing = merge(lacking(k.missing, lacks), list)
	}
	k.missing = k.newest(k.missing, l.most())
}

// most returns how many missing groups of a track are remembered.
func (l *lane) most() int {
	share := maxMissingOfAll / max(int(l.m.running.Load()), 1)
	return max(min(maxMissing, share/max(len(l.looks), 1)), batch)
}

// newest cuts a list to its newest groups.
func (k *look) newest(list []Group, most int) []Group {
	over := len(list) - most
	if over <= 0 {
		return list
	}
	k.more += over
	return slices.Clone(list[over:])
}

// lacking returns the groups of a list that are not here. The first one behind a group that is here is marked as apart.
func lacking(list []Group, lacks func(Group) bool) (out []Group) {
	apart := true
	for _, g := range list {
		if !lacks(g) {
			apart = true
			continue
		}
		g.apart = g.apart || apart
		apart = false
		out = append(out, g)
	}
	return out
}

// merge joins two ascending lists; of a group in both, the entry of the second counts.
func merge(a, b []Group) []Group {
	if len(a) == 0 {
		return b
	}
	list := make([]Group, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0].ID, b[0].ID); {
		case c < 0:
			list, a = append(list, a[0]), a[1:]
		case c > 0:
			list, b = append(list, b[0]), b[1:]
		default:
			list, a, b = append(list, b[0]), a[1:], b[1:]
		}
	}
	return append(append(list, a...), b...)
}

// count adds up the missing groups.
func (l *lane) count() {
	n := 0
	for _, k := range l.looks {
		n += len(k.missing) + len(k.vain) + k.more
	}
	l.missing.Store(int64(n))
}

// bring fetches missing groups of all tracks in turn, so that the newest of each track come first. It stops when it is time to
// look again, and reports whether there is more to fetch.
func (l *lane) bring(ctx context.Context, tracks map[string]Track, p *pacer, while time.Duration) (more bool) {
	m, began := l.m, time.Now()
	n := int64(0)
	defer func() {
		l.count()
		if n > 0 {
			m.Logger.Info(m.Done, "groups", n, "missing", m.Missing())
		}
	}()
	for some := true; some; {
		some = false
		for key, t := range tracks {
			k := l.looks[key]
			if k.again(); len(k.missing) == 0 {
				continue
			}
			if ctx.Err() != nil || m.pausing() {
				return false
			}
			if err := m.Library.Room(t.Name); err != nil {
				m.pause(err)
				return false
			}
			m.pause(nil)
			n += l.batch(ctx, t, k, p)
			if some = true; time.Since(began) >= while {
				return true
			}
		}
	}
	return false
}

// again makes the groups that nobody brought missing again, when all others have been asked for and their pause is over.
func (k *look) again() {
	if len(k.missing) == 0 && len(k.vain) > 0 && !time.Now().Before(k.retry) {
		k.missing, k.vain = k.vain, nil
		k.retry = time.Now().Add(min(tailInterval<<min(k.failures, 10), fullInterval))
		k.failures++
	}
}

// batch fetches the newest missing groups of a track, none of which is behind a group that is here.
func (l *lane) batch(ctx context.Context, t Track, k *look, p *pacer) (came int64) {
	m := l.m
	first := len(k.missing) - 1
	for first > 0 && len(k.missing)-first < batch && !k.missing[first].apart {
		first--
	}
	groups := k.missing[first:]
	m.Library.Bring(ctx, t, groups, p.wait)
	vain := lacking(groups, func(g Group) bool { return m.Library.Lacks(t.Name, g) })
	if ctx.Err() != nil {
		return 0
	}
	k.missing = k.missing[:first:first]
	if came = int64(len(groups) - len(vain)); came > 0 {
		k.failures = 0
		m.brought.Add(came)
		l.missing.Add(-came)
	}
	if len(vain) > 0 && k.failures == 0 && len(k.vain) == 0 {
		k.retry, k.failures = time.Now().Add(tailInterval), 1
	}
	k.vain = k.newest(merge(k.vain, vain), l.most())
	return came
}

// pacer spreads bytes over time.
type pacer struct {
	rate int64

	mu   sync.Mutex
	next time.Time
}

// wait waits until this many more bytes may be fetched.
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
