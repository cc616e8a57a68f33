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
	"every.channel/ec/lib/relay/live"
)

const (
	// steerInterval is how often links are checked when no event calls for it.
	steerInterval = time.Second
	// refusedTrackPause is how long an upstream is not asked again for a track that it refused.
	refusedTrackPause = 10 * time.Second
	// longestTrackPause bounds that pause, which doubles with every refusal while nobody here watches.
	longestTrackPause = 5 * time.Minute
	endedTrackPause   = time.Second
	// silentLink is how long an upstream may bring nothing of a track before other upstreams that have the track live are asked
	// as well.
	silentLink = 10 * time.Second
	// maxMirrorLinks is how many tracks of one upstream are subscribed to only because they are mirrored: a session has room for
	// about a thousand requests. The mirror fetches the objects of the other tracks every few seconds.
	maxMirrorLinks = 768
)

// link is the one subscription of this relay to a track at an upstream, or the attempt at it.
type link struct {
	cancel   context.CancelFunc
	answered chan struct{} // closed when the upstream accepted or refused

	// Relay.mu guards these.
	up       bool          // the upstream accepted
	src      *source       // the source of its objects, once it is up
	since    time.Time     // when that began
	moved    *keep.Session // the session on which the upstream wants the track to be requested; nil: the upstream's own
	unwanted time.Time     // since when no subscriber needs the link
}

// demand is how a track is asked for at upstreams: its links, and the upstreams that refused it.
type demand struct {
	links   map[*upstream]*link
	pause   map[*upstream]time.Time // an upstream is not asked before this time
	refused map[*upstream]int       // how often an upstream refused in succession
}

// demand returns the demand of a track, and makes it on first use. Relay.mu is held.
func (r *Relay) demand(t *track) *demand {
	d := r.demands[t]
	if d == nil {
		d = &demand{links: make(map[*upstream]*link), pause: make(map[*upstream]time.Time), refused: make(map[*upstream]int)}
		r.demands[t] = d
	}
	return d
}

// nearest returns those upstreams that may be asked and have the shortest path to a publisher of the track. Every relay
// subscribes only where the path is shorter than its own, so subscriptions never run in a circle. If an upstream among them
// brings nothing, the next nearest ones are returned too. Relay.mu is held.
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

// silent reports whether a link has brought nothing for silentLink. Relay.mu is held.
func (l *link) silent(now time.Time) bool {
	if !l.up {
		return false
	}
	last := l.since
	if at := time.Unix(0, l.src.Heard.Load()); at.After(last) {
		last = at
	}
	return now.Sub(last) >= silentLink
}

// pull subscribes at upstreams to a track that nobody publishes here, for a subscriber that came through the relays in through.
// Upstreams with a longer path are asked when the nearest refuse. It returns nil if no upstream knows the track.
func (r *Relay) pull(ctx context.Context, name object.TrackName, through []string) *track {
	actx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	r.mu.Lock()
	live := slices.ContainsFunc(r.upstreams, func(u *upstream) bool { _, ok := u.distance(name.Namespace, true); return ok })
	r.mu.Unlock()
	if live {
		t, over := r.asked(name)
		r.linkUp(actx, t, through)
		over()
	}
	t, _ := r.known(ctx, name, through)
	return t
}

// linkUp waits until a track is linked at an upstream, or all have refused.
func (r *Relay) linkUp(ctx context.Context, t *track, through []string) {
	may := func(u *upstream) bool { return u.passable(through) }
	for ctx.Err() == nil && !t.Sends(time.Now()) {
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

// firstUp waits until one of the links is up, and then a moment for the others. It returns false if all upstreams refused.
func (r *Relay) firstUp(ctx context.Context, asked []*link) bool {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	answers := make(chan bool)
	for _, l := range asked {
		go func() { // ends when stop is called, if not before
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
	if t.banned.Load() != nil || !s.claim(t, false) {
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

// follow subscribes to a track at an upstream and takes its objects until the subscription ends. It returns how long the upstream
// must not be asked again.
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
		had, has := t.Info().Largest, sub.Info().Largest
		src := s.attach(t, sub, false)
		r.mu.Lock()
		l.up, l.src, l.since = true, src, time.Now()
		r.mu.Unlock()
		answered()
		answered = func() {}
		if old != nil { // the new subscription is there, so the old one may end
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
		if err != nil { // the subscription stays here until the upstream ends it
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

// catchUp fetches the objects that subscribers missed while no upstream was there.
func (r *Relay) catchUp(ctx context.Context, t *track, had, has *moqt.Location) {
	if had == nil || has == nil || !had.Less(*has) || !r.wanted(t) {
		return
	}
	first := moqt.Location{Group: had.Group}
	if n := t.reach(live.LateGroups); has.Group-first.Group > n {
		first.Group = has.Group - n
	}
	r.fill(ctx, t, span{first, startOf(has.Group + 1)}, nil, nil)
}

// reach estimates how many group ids the given number of groups spans, from the stored groups: ids may skip.
func (t *track) reach(groups uint64) uint64 {
	ids := t.st.Newest(live.LateGroups)
	if len(ids) < 2 {
		return groups
	}
	steps := uint64(len(ids) - 1)
	return groups * max((ids[len(ids)-1]-ids[0]+steps-1)/steps, 1)
}

// elsewhere subscribes to a track at the relay that the upstream names with a GOAWAY on the stream of the request.
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

// asks returns the session on which an upstream is asked for a track: its own, or the one to which it has moved the track.
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

// steer makes and leaves links as subscribers need them, until ctx ends.
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
		if t.banned.Load() != nil {
			continue // its links end with their subscriptions
		}
		ways := r.ways(t)
		watching, watched := ways, len(ways) > 0
		if r.mirrors(t.name.Namespace) && (told[t] || t.Exists()) { // mirrored tracks are wanted as if somebody here watched them
			ways = append([][]string{nil}, ways...)
		}
		d := r.demands[t]
		sends := t.Sends(now)
		if d == nil && (len(ways) == 0 || sends) {
			continue
		}
		d = r.demand(t)
		var want []*upstream
		if len(ways) > 0 && !sends {
			want = nearest(t, d, usable, func(u *upstream) bool { return slices.ContainsFunc(ways, u.passable) })
		}
		for _, u := range want {
			if d.links[u] == nil && (watched || links[u] < maxMirrorLinks) {
				i := slices.IndexFunc(ways, u.passable)
				r.link(t, d, u, ways[i])
				links[u]++
			}
		}
		// A link that is up stays while nearer upstreams have not answered yet. It also stays for a subscriber when no upstream
		// tells of a publisher any more: the last objects of the track, and the message that it ended, may still be on the way.
		asking := len(want) > 0 && !slices.ContainsFunc(want, func(u *upstream) bool { return d.links[u] != nil && d.links[u].up })
		last := len(want) == 0 && !sends
		for u, l := range d.links {
			switch {
			case l.up && (asking || last && slices.ContainsFunc(watching, u.passable)), slices.Contains(want, u):
				l.unwanted = time.Time{}
			case l.unwanted.IsZero():
				l.unwanted = now
			case now.Sub(l.unwanted) >= r.tuned.Load().linger:
				l.cancel()
			}
		}
		if len(d.links) == 0 && len(ways) == 0 {
			delete(r.demands, t)
		}
	}
}
