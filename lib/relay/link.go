package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

const (
	// steerInterval is how often links are looked at when nothing happens.
	steerInterval = time.Second
	// refusedTrackPause is how long an upstream is not asked again for a track that it refused.
	refusedTrackPause = 10 * time.Second
	// longestTrackPause bounds that pause, which doubles with every refusal while nobody here watches.
	longestTrackPause = 5 * time.Minute
	endedTrackPause   = time.Second
	// silentLink is how long an upstream may bring nothing of a track before others that have it live are asked, too.
	silentLink = 10 * time.Second
	// maxMirrorLinks is how many tracks of one upstream are subscribed to for a mirror alone: a session has room for about a thousand
	// requests. The others come when the mirror looks, every few seconds.
	maxMirrorLinks = 768
)

// link is the one subscription of this relay to a track at an upstream, or the attempt at it.
type link struct {
	cancel   context.CancelFunc
	answered chan struct{} // closed when the upstream accepted or refused

	// Relay.mu guards these.
	up       bool          // the upstream accepted
	src      *source       // what it brings, once it is up
	since    time.Time     // when that began
	moved    *keep.Session // where the upstream wants the track asked for; nil: at itself
	unwanted time.Time     // since when nobody needs it
}

// demand is what a track wants of upstreams.
type demand struct {
	links   map[*upstream]*link
	pause   map[*upstream]time.Time // not to be asked before
	refused map[*upstream]int       // how often in succession
}

// demand returns that of a track; Relay.mu is held.
func (r *Relay) demand(t *track) *demand {
	d := r.demands[t]
	if d == nil {
		d = &demand{links: make(map[*upstream]*link), pause: make(map[*upstream]time.Time), refused: make(map[*upstream]int)}
		r.demands[t] = d
	}
	return d
}

// nearest returns the upstreams with the shortest way to where a track is live, of those that may be asked. Because every
// relay goes where the way is shorter, subscriptions among relays run in no circle. One that brings nothing is not relied on: the
// next nearest are asked, too. Relay.mu is held.
func nearest(t *track, d *demand, of []*upstream, may func(*upstream) bool) (list []*upstream) {
	now, shortest := time.Now(), 0
	var idle []*upstream
	for _, u := range of {
		n, ok := u.distance(t.name.Namespace, true)
		if !ok || now.Before(d.pause[u]) || u.rests(now) && d.links[u] == nil || !may(u) {
			continue
		}
		if l := d.links[u]; l != nil && l.silent(now) {
			idle = append(idle, u)
			continue
		}
		if len(list) == 0 || n < shortest {
			list, shortest = list[:0], n
		}
		if n == shortest {
			list = append(list, u)
		}
	}
	return append(list, idle...)
}

// silent reports whether a link has brought nothing for a while; Relay.mu is held.
func (l *link) silent(now time.Time) bool {
	if !l.up {
		return false
	}
	last := l.since
	if at := time.Unix(0, l.src.heard.Load()); at.After(last) {
		last = at
	}
	return now.Sub(last) >= silentLink
}

// pull returns a track that nobody publishes here, for a subscriber that came through some relays: subscribed to at
// upstreams, where it can be. Those with a longer way are asked when the nearest refuse.
// nil: nobody knows the track.
func (r *Relay) pull(ctx context.Context, name object.TrackName, through []string) *track {
	actx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	r.mu.Lock()
	live := slices.ContainsFunc(r.upstreams, func(u *upstream) bool { _, ok := u.distance(name.Namespace, true); return ok })
	r.mu.Unlock()
	if live {
		r.linkUp(actx, r.track(name), through)
	}
	t, _ := r.known(ctx, name, through)
	return t
}

// linkUp waits until a track is linked at an upstream, or all have refused.
func (r *Relay) linkUp(ctx context.Context, t *track, through []string) {
	may := func(u *upstream) bool { return u.passable(through) }
	for ctx.Err() == nil && !t.local() {
		var asked []*link
		r.mu.Lock()
		d := r.demand(t)
		for _, u := range nearest(t, d, r.usable(), may) {
			l := d.links[u]
			if l == nil {
				l = r.link(t, d, u, through)
			}
			if l != nil {
				asked = append(asked, l)
			}
		}
		r.mu.Unlock()
		if len(asked) == 0 {
			return
		}
		if r.firstUp(ctx, asked) {
			return
		}
	}
}

// firstUp waits until one of some links is up, and a moment for the others; false: none will be.
func (r *Relay) firstUp(ctx context.Context, asked []*link) bool {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	answers := make(chan bool)
	for _, l := range asked {
		go func() { // ends with stop at the latest
			select {
			case <-l.answered:
			case <-ctx.Done():
			}
			r.mu.Lock()
			up := l.up
			r.mu.Unlock()
			select {
			case answers <- up:
			case <-ctx.Done():
			}
		}()
	}
	some := false
	var enough <-chan time.Time
	for range asked {
		select {
		case up := <-answers:
			if up && !some {
				some, enough = true, time.After(graceOfOthers)
			}
		case <-enough:
			return true
		case <-ctx.Done():
			return some
		}
	}
	return some
}

// link begins a subscription at an upstream; Relay.mu is held.
func (r *Relay) link(t *track, d *demand, u *upstream, through []string) *link {
	s := u.s
	if !s.claim(t, false) {
		return nil
	}
	ctx, cancel := context.WithCancel(s.s.Context())
	l := &link{cancel: cancel, answered: make(chan struct{})}
	d.links[u] = l
	o := moqt.SubscribeOptions{Tokens: u.hops(through)}
	go func() {
		defer s.unclaim(t)
		pause := r.follow(ctx, t, s, l, o, patience(through))
		wanted := t.wanted()
		r.mu.Lock()
		delete(d.links, u)
		switch {
		case ctx.Err() != nil:
		case l.up || wanted:
			d.refused[u] = 0
			d.pause[u] = time.Now().Add(pause)
		default: // for a mirror
			d.pause[u] = time.Now().Add(min(pause<<min(d.refused[u], 8), longestTrackPause))
			d.refused[u]++
		}
		r.mu.Unlock()
		cancel()
		select {
		case <-l.answered:
		default:
			close(l.answered)
		}
		r.namespacesChanged()
	}()
	return l
}

// follow subscribes at an upstream and takes objects until the subscription ends. It returns how long not to try again.
func (r *Relay) follow(ctx context.Context, t *track, s *session, l *link, o moqt.SubscribeOptions, limit time.Duration) time.Duration {
	actx, answeredInTime := context.WithTimeout(ctx, limit)
	sub, err := s.ask.Subscribe(actx, t.name, o)
	late := actx.Err() != nil && ctx.Err() == nil
	answeredInTime()
	if err != nil && late {
		s.up.stalled("subscription")
		return refusedTrackPause
	}
	if err != nil {
		refused, ok := errors.AsType[*moqt.RequestError](err)
		if ctx.Err() == nil && (!ok || refused.Code != wire.RequestDoesNotExist) {
			r.log.Warn("upstream refused a track", "track", t.name.String(), "upstream", s.name, "err", err)
		}
		return refusedTrackPause
	}
	var running sync.WaitGroup
	defer running.Wait()
	answered := func() { close(l.answered) }
	for old := (*moqt.Subscription)(nil); ; {
		had, has := t.info().Largest, sub.Info().Largest
		src := s.attach(t, sub)
		r.mu.Lock()
		l.up, l.src, l.since = true, src, time.Now()
		r.mu.Unlock()
		answered()
		answered = func() {}
		if old != nil { // the new one is there
			old.Unsubscribe()
		}
		running.Go(func() { r.catchUp(ctx, t, had, has) })
		over := make(chan struct{})
		running.Go(func() { src.run(ctx); close(over) })
		select {
		case <-over:
			return endedTrackPause
		case <-sub.GoingAway():
		}
		next, to, err := r.elsewhere(ctx, t, s, sub, o)
		if err != nil { // it stays until it is ended
			if ctx.Err() == nil {
				r.log.Warn("upstream wants a track read elsewhere, which fails", "track", t.name.String(), "upstream", s.name, "err", err)
			}
			<-over
			return endedTrackPause
		}
		r.mu.Lock()
		l.moved = to
		r.mu.Unlock()
		old, sub = sub, next
	}
}

// catchUp fetches what subscribers missed while no upstream was there.
func (r *Relay) catchUp(ctx context.Context, t *track, had, has *moqt.Location) {
	if had == nil || has == nil || !had.Less(*has) || !r.wanted(t) {
		return
	}
	first := moqt.Location{Group: had.Group}
	if n := t.reach(lateGroups); has.Group-first.Group > n {
		first.Group = has.Group - n
	}
	r.fill(ctx, t, span{first, startOf(has.Group + 1)}, nil)
}

// reach is about how many ids so many groups take, by those that are stored: ids may skip.
func (t *track) reach(groups uint64) uint64 {
	ids := t.st.Newest(lateGroups)
	if len(ids) < 2 {
		return groups
	}
	steps := uint64(len(ids) - 1)
	return groups * max((ids[len(ids)-1]-ids[0]+steps-1)/steps, 1)
}

// elsewhere subscribes to a track where the upstream wants that (GOAWAY on the stream of the request).
func (r *Relay) elsewhere(ctx context.Context, t *track, s *session, sub *moqt.Subscription, o moqt.SubscribeOptions) (*moqt.Subscription, *keep.Session, error) {
	to, err := s.ask.Move(ctx, sub)
	if err != nil {
		return nil, nil, err
	}
	if to.Session == sub.Session() { // a session has one subscription to a track at most
		sub.Unsubscribe()
	}
	next, err := to.Subscribe(ctx, t.name, o)
	return next, to, err
}

// asks is where an upstream is asked for a track.
func (s *session) asks(t *track) *keep.Session {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if d := s.r.demands[t]; d != nil {
		if l := d.links[s.up]; l != nil && l.moved != nil {
			return l.moved
		}
	}
	return s.ask
}

// steer keeps links as subscribers need them until ctx ends.
func (r *Relay) steer(ctx context.Context) {
	wake, unlisten := r.listen()
	defer unlisten()
	tick := time.NewTicker(steerInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
		began := time.Now()
		r.steerOnce(began)
		rest(ctx, began)
	}
}

func (r *Relay) steerOnce(now time.Time) {
	told := r.wantMirrored()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.forgot) >= forgetAfter/4 {
		r.forgot = now
		r.forget(now, told)
	}
	if len(r.upstreams) == 0 && len(r.demands) == 0 {
		return
	}
	usable := r.usable()
	links := make(map[*upstream]int)
	for _, d := range r.demands {
		for u := range d.links {
			links[u]++
		}
	}
	for _, t := range r.tracks {
		ways := r.ways(t)
		watching, watched := ways, len(ways) > 0
		if r.mirrors(t.name.Namespace) && (told[t] || t.exists()) { // as if somebody here watched
			ways = append([][]string{nil}, ways...)
		}
		d := r.demands[t]
		if d == nil && (len(ways) == 0 || t.local()) {
			continue
		}
		d = r.demand(t)
		var want []*upstream
		if len(ways) > 0 && !t.local() {
			want = nearest(t, d, usable, func(u *upstream) bool { return slices.ContainsFunc(ways, u.passable) })
		}
		for _, u := range want {
			if d.links[u] == nil && (watched || links[u] < maxMirrorLinks) {
				i := slices.IndexFunc(ways, u.passable)
				r.link(t, d, u, ways[i])
				links[u]++
			}
		}
		// While those that are nearer have not answered, what is there goes on. So it does for a subscriber when no upstream tells of a
		// publisher any more: the last of the track, and that it ended, may still be on the way.
		asking := len(want) > 0 && !slices.ContainsFunc(want, func(u *upstream) bool { return d.links[u] != nil && d.links[u].up })
		last := len(want) == 0 && !t.local()
		for u, l := range d.links {
			switch {
			case l.up && (asking || last && slices.ContainsFunc(watching, u.passable)), slices.Contains(want, u):
				l.unwanted = time.Time{}
			case l.unwanted.IsZero():
				l.unwanted = now
			case now.Sub(l.unwanted) >= r.c.Linger:
				l.cancel()
			}
		}
		if len(d.links) == 0 && len(ways) == 0 {
			delete(r.demands, t)
		}
	}
}

// ways are the relays through which the subscribers of a track came, a list for each, in no order.
func (t *track) ways() (ways [][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subs {
		ways = append(ways, s.through)
	}
	return ways
}

// local reports whether somebody publishes a track here, upstreams apart.
func (t *track) local() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for src := range t.sources {
		if src.s.up == nil {
			return true
		}
	}
	return false
}

// linked reports whether the track is subscribed to at an upstream.
func (t *track) linked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for src := range t.sources {
		if src.s.up != nil {
			return true
		}
	}
	return false
}

// describe notes the properties of a track, unless some are known.
func (t *track) describe(props []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.props) == 0 {
		t.props = slices.Clone(props)
	}
}

// told is the largest location that upstreams tell of. Of those that send the track the one that says least counts, for another may
// say anything, and then those that do not send it are not heard. The track's mutex is held.
func (t *track) told() (l *moqt.Location) {
	for src := range t.sources {
		if src.s.up == nil || src.sub == nil {
			continue
		}
		if at := src.sub.Info().Largest; at != nil && (l == nil || at.Less(*l)) {
			l = at
		}
	}
	if l == nil {
		return t.remote
	}
	return l
}

// learn notes the largest location that an upstream tells of that does not send the track.
func (t *track) learn(l *moqt.Location) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l != nil && (t.remote == nil || t.remote.Less(*l)) {
		t.remote = l
	}
}
