package relay

import (
	"context"
	"strconv"
	"sync"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// ban is why nothing of a track is taken or served, whoever asks.
type ban struct {
	why string
	// refusal is the code that publishers get. UNINTERESTED has ec-pub wait until the relay asks for the track again, and go on with others.
	refusal moqt.RequestCode
	taken   bool // by a takedown, and not by the policy
}

var (
	bannedByPolicy = ban{why: "this relay neither takes nor serves that", refusal: wire.RequestUnauthorized}
	bannedByOrder  = ban{why: "taken down by the operator of this relay", refusal: wire.RequestUninterested, taken: true}
)

// ban returns why nothing of a track is taken or served; nil: it may be.
func (r *Relay) ban(name object.TrackName) *ban {
	switch {
	case r.c.Rights != nil && r.c.Rights.Policy().Bars(name.Namespace):
		return &bannedByPolicy
	case r.c.Takedowns != nil && r.c.Takedowns.Whole(name) != "":
		return &bannedByOrder
	}
	return nil
}

// banBelow does the same for a namespace with all below it.
func (r *Relay) banBelow(ns object.Namespace) *ban {
	switch {
	case r.c.Rights != nil && r.c.Rights.Policy().Bars(ns):
		return &bannedByPolicy
	case r.c.Takedowns != nil && r.c.Takedowns.Namespace(ns) != "":
		return &bannedByOrder
	}
	return nil
}

// publishers are the sources of a track with a subscription.
type publishers struct {
	mu  sync.Mutex
	all map[*source]struct{}
}

func (p *publishers) add(src *source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = make(map[*source]struct{})
	}
	p.all[src] = struct{}{}
}

func (p *publishers) remove(src *source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, src)
}

func (p *publishers) list() (list []*source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for src := range p.all {
		list = append(list, src)
	}
	return list
}

// Enforce makes what the policy and the takedowns say hold for what goes on: who may not be here is sent away, what may not be served stops, and
// publishers are asked again for what may be. It is to be called when either has changed.
func (r *Relay) Enforce() {
	r.mu.Lock()
	tracks := make([]*track, 0, len(r.tracks)+len(r.idle))
	for _, t := range r.tracks {
		tracks = append(tracks, t)
	}
	for _, t := range r.idle {
		if t := t.Value(); t != nil {
			tracks = append(tracks, t)
		}
	}
	sessions := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	for _, t := range tracks { // all of them first, because Withhold may wait for a disk or a bucket
		t.banned.Store(r.ban(t.name))
	}
	for _, t := range tracks {
		t.Withhold() // wakes those who read the track, too
		if t.banned.Load() == nil {
			continue
		}
		for _, src := range t.publishers.list() {
			if src.s.up == nil {
				src.s.turnAway(t.name)
			}
			src.sub.Unsubscribe()
		}
	}
	for _, s := range sessions {
		s.takeBack()
	}
	r.namespacesChanged()
}

// maxTurnedAway bounds the tracks of a session that are remembered to be asked for when they may be taken again.
const maxTurnedAway = 256

// turnAway notes that the peer published a track that may not be taken, or offered it.
func (s *session) turnAway(name object.TrackName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turned == nil {
		s.turned = make(map[string]object.TrackName)
	}
	if len(s.turned) < maxTurnedAway {
		s.turned[name.String()] = name
	}
}

// takeBack subscribes to the tracks that the peer was turned away with and that may be taken now.
func (s *session) takeBack() {
	s.mu.Lock()
	var back []object.TrackName
	for key, name := range s.turned {
		if s.r.ban(name) == nil {
			delete(s.turned, key)
			back = append(back, name)
		}
	}
	s.mu.Unlock()
	for _, name := range back {
		s.background(func() { s.subscribeTo(s.s.Context(), s.r.track(name), auth.Publish) })
	}
}

// subscribeTo subscribes to a track of a peer that did not offer it in this moment, if the peer may publish it, and takes its objects until the
// session ends. It returns when the peer has answered.
func (s *session) subscribeTo(ctx context.Context, t *track, act auth.Action) (err error) {
	release, refusal := s.access.begin(act, t.name.Namespace, t.name.String(), nil, onTrack(act, t.name))
	if refusal != nil {
		return nil
	}
	if !s.claim(t, true) {
		release()
		return nil
	}
	sub, err := s.s.Subscribe(ctx, t.name, moqt.SubscribeOptions{})
	if err != nil {
		release()
		if crossed := s.unclaim(t); crossed {
			err = &moqt.RequestError{Code: wire.RequestDoesNotExist, Reason: "it was offered meanwhile"}
		}
		return err
	}
	s.answered(t)
	src := s.attach(t, sub, false)
	go func() {
		defer s.unclaim(t)
		defer release()
		src.run(s.s.Context())
	}()
	return nil
}

// withheld are the groups of a track that are neither taken nor served.
func withheldSpans(ranges []store.Range) (list []span) {
	for _, g := range ranges {
		list = append(list, span{startOf(g.First), startOf(g.Last + 1)})
	}
	return list
}

// lessWithheld returns what of some spans may be taken.
func lessWithheld(spans []span, ranges []store.Range) []span {
	if len(ranges) == 0 {
		return spans
	}
	var apart answers
	for _, s := range withheldSpans(ranges) {
		apart.add(s)
	}
	var list []span
	for _, s := range spans {
		list = append(list, apart.without(s)...)
	}
	return list
}

// takenDown reports whether all of a span is taken down.
func (r *Relay) takenDown(name object.TrackName, asked span) bool {
	if r.c.Takedowns == nil || asked.empty() {
		return false
	}
	ranges := r.c.Takedowns.Ranges(name)
	if st := r.store.Lookup(name); st != nil {
		ranges = st.Ranges() // with what was found by its hash
	}
	return len(ranges) > 0 && len(lessWithheld([]span{asked}, ranges)) == 0
}

// watchFound writes down the groups in which a payload is found that is taken down by its hash, until ctx ends.
func (r *Relay) watchFound(ctx context.Context) {
	for {
		var f archive.FoundGroup
		select {
		case <-ctx.Done():
			return
		case f = <-r.c.Takedowns.Found():
		}
		id, err := r.c.Takedowns.Note(f)
		if err != nil {
			r.log.Error("a group that is taken down by its hash was found, and not written down", "track", f.Track.String(), "group", f.Group, "err", err)
		}
		if id != "" {
			r.c.Audit.AddOf(auth.Entry{What: "takedown-found", Who: "relay", Subject: id, Detail: f.Track.String() + " group " + strconv.FormatUint(f.Group, 10)})
			r.log.Info("group taken down by its hash", "takedown", id, "track", f.Track.String(), "group", f.Group)
		}
		r.mu.Lock()
		t := r.held(f.Track.String())
		r.mu.Unlock()
		if t != nil {
			t.Withhold()
		}
	}
}
