package moqt

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// PublishOptions describe a track offered with PUBLISH.
type PublishOptions struct {
	Largest    *Location     // largest object so far; nil if there is none yet
	NoForward  bool          // do not send before the subscriber asks
	Expires    time.Duration // after which this side will end the subscription; 0 never
	Properties []byte        // track properties as key-value-pairs
	Tokens     []Token
}

// Publication is the publisher's end of a subscription, whoever started it.
type Publication struct {
	*movable
	s       *Session
	r       *request // SUBSCRIBE of the peer, or PUBLISH of this side; its id is the track alias
	track   object.TrackName
	props   wire.TrackProperties
	current func() *Location // TrackInfo.Current
	tokens  []Token          // of the SUBSCRIBE of the peer
	ctx     context.Context  // of the request
	updates chan struct{}
	sieve   atomic.Pointer[sieve]

	mu      sync.Mutex // guards what follows; no other lock is taken under it
	state   PublicationState
	largest Location  // largest object sent or known
	some    bool      // largest is valid
	saved   *Location // largest when the subscription began, or was resumed, for joining fetches (§5.1)
	streams map[*SubgroupWriter]struct{}
	opened  uint64
	over    bool
	filters []wire.KeyValue // range filters, as on the wire
	fills   map[*fill]struct{}
	last    *wire.PublishDone // to be sent after those
}

func (s *Session) newPublication(r *request, track object.TrackName, info TrackInfo) (*Publication, error) {
	props, err := wire.ParseTrackProperties(info.Properties, s.v)
	if err != nil {
		return nil, err
	}
	p := &Publication{
		movable: &r.movable, s: s, r: r, track: track, props: props, saved: info.Largest, current: info.Current,
		ctx: r.ctx, updates: make(chan struct{}, 1), streams: map[*SubgroupWriter]struct{}{}, fills: map[*fill]struct{}{},
	}
	if info.Largest != nil {
		p.largest, p.some = *info.Largest, true
	}
	p.state = PublicationState{Forward: true, Priority: DefaultPriority, GroupOrder: props.GroupOrder, EndGroup: math.MaxUint64, EndObject: math.MaxUint64}
	return p, nil
}

// Publish offers a track and waits for PUBLISH_OK (*RequestError if refused).
func (s *Session) Publish(ctx context.Context, track object.TrackName, o PublishOptions) (*Publication, error) {
	if err := wire.CheckTrackName(track); err != nil {
		return nil, err
	}
	params := s.requests.shapesOf(track) // and the answer or an update changes it
	asked := wire.Parameters{Fill: params.Fill}
	filters := params.RangeFilters
	if f, _ := s.readFilters(filters); !f.PassesTrack(o.Properties) {
		return nil, &RequestError{Code: wire.RequestUninterested, Reason: "the peer filters the track out"}
	}
	o.Properties = told(o.Properties, params)
	params.Fill, params.RangeFilters, params.IncludeProperties, params.Tokens = nil, nil, nil, o.Tokens
	if o.NoForward && params.Forward == nil {
		params.Forward = new(bool)
	}
	if ms := milliseconds(o.Expires); ms > 0 {
		params.Expires = &ms
	}
	m := &wire.Publish{Track: track, Parameters: params, Properties: o.Properties}
	r := s.newRequest(m, true, nobody{})
	p, err := s.newPublication(r, track, TrackInfo{Largest: o.Largest, Properties: o.Properties})
	if err != nil {
		r.end()
		return nil, err
	}
	p.state.apply(params)
	p.filters = filters
	r.owner, r.track = p, track.String() // pending: a SUBSCRIBE to the same track is a duplicate from now on (§5.1)
	if err := p.open(ctx, m, o.Largest); err != nil {
		p.end(err)
		return nil, err
	}
	s.spawn(func() { p.fill(r.id, asked, o.Largest) })
	return p, nil
}

func (p *Publication) open(ctx context.Context, m *wire.Publish, largest *Location) error {
	if err := p.s.waitReady(ctx); err != nil { // it is known then who the peer is
		return err
	}
	m.Parameters.LargestObject = p.s.largestFor(largest)
	answer, err := p.r.ask(ctx, m)
	if err != nil {
		return err
	}
	ok, is := answer.(*wire.PublishOK)
	if !is {
		return p.r.broke(violation("%T in answer to PUBLISH", answer))
	}
	if err := unknownParameters(ok.Parameters); err != nil {
		return p.r.broke(err)
	}
	p.mu.Lock()
	p.state.apply(ok.Parameters)
	p.state.resolve(p.saved)
	p.sift(wire.Parameters{})
	p.state.limit(p.trackTimeouts())
	p.mu.Unlock()
	p.r.follow()
	return nil
}

// trackTimeouts are the track's own.
func (p *Publication) trackTimeouts() timeouts {
	return timeouts{duration(p.props.DeliveryTimeout), duration(p.props.SubgroupTimeout)}
}

// timeouts are those of a subgroup at this moment.
func (p *Publication) timeouts(own wire.SubgroupTimeouts) timeouts {
	track := p.trackTimeouts().instead(own)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.asked.and(track)
}

// Timeouts are those for a subgroup whose first object has properties, by the subscriber and the publisher: for each object from when its
// header came, and for the rest of the subgroup from its end. 0: none. No properties: the track's count.
func (p *Publication) Timeouts(first []byte) (object, subgroup time.Duration) {
	t := p.timeouts(p.s.ways.ownTimeouts(first))
	return t.object, t.subgroup
}

func (p *Publication) take(m wire.Message) error { return nobody{}.take(m) }

func (p *Publication) ended(why error) {
	if p.s.ctx.Err() == nil {
		why = ErrClosed
	}
	p.end(why)
}

func (p *Publication) update(id uint64, params wire.Parameters, accept func(wire.Parameters)) *RequestError {
	if f := params.Fill; f != nil {
		if refusal := p.s.checkFilters(*f); refusal != nil {
			return refusal
		}
	}
	largest, refusal := p.apply(params)
	if refusal != nil {
		return refusal
	}
	accept(wire.Parameters{LargestObject: p.s.largestFor(largest)})
	p.fill(id, params, largest)
	return nil
}

// updateFailed: the publisher of a refused update ends the subscription (§9.11.1).
func (p *Publication) updateFailed(why *RequestError) { p.Done(wire.DoneUpdateFailed, why.Reason) }

// Track is the full track name.
func (p *Publication) Track() object.TrackName { return p.track }

// Context ends when the subscriber unsubscribed, Done was called or the session ended.
func (p *Publication) Context() context.Context { return p.ctx }

// State is what the subscriber wants at this moment.
func (p *Publication) State() PublicationState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Updates has a value whenever State changed since it was last received from; changes coalesce.
func (p *Publication) Updates() <-chan struct{} { return p.updates }

// Largest is the largest object sent, or known when the subscription began; nil if there is none.
func (p *Publication) Largest() *Location {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.some {
		return nil
	}
	l := p.largest
	return &l
}

// apply applies a REQUEST_UPDATE and returns the largest object at that moment, which its answer tells.
func (p *Publication) apply(params wire.Parameters) (largest *Location, refusal *RequestError) {
	var current *Location
	if p.current != nil {
		current = p.current()
	}
	p.mu.Lock()
	paused := !p.state.Forward
	p.state.apply(params)
	if current != nil && (!p.some || p.largest.Less(*current)) {
		p.largest, p.some = *current, true
	}
	if p.some {
		l := p.largest
		largest = &l
	}
	if paused && p.state.Forward {
		p.state.Resumed = largest
		p.s.ways.resumed(p, largest)
	}
	if params.SubscriptionFilter != nil {
		p.state.resolve(largest)
	}
	refusal = p.sift(params)
	p.state.limit(p.trackTimeouts())
	if params.SubscriberPriority != nil {
		p.prioritize()
	}
	p.mu.Unlock()
	signal(p.updates)
	return largest, refusal
}

// joining is the largest object up to which a joining fetch goes; nil: there was none.
func (p *Publication) joining() *Location {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved
}

// OpenSubgroup opens a stream for a subgroup, waiting for the peer's stream credit until ctx is done or the publication
// ended. Priorities and group order become the stream's priority. The header leaves with the first object.
func (p *Publication) OpenSubgroup(ctx context.Context, h SubgroupHeader) (*SubgroupWriter, error) {
	if p.ctx.Err() != nil {
		return nil, context.Cause(p.ctx)
	}
	if !p.State().Forward {
		return nil, ErrNoForward
	}
	if err := wire.CheckIDs(p.s.v, h.Group, h.Subgroup); err != nil {
		return nil, fmt.Errorf("subgroup %d of group %d: %w", h.Subgroup, h.Group, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	st, err := p.s.openData(ctx)
	if err != nil {
		if p.ctx.Err() != nil {
			return nil, context.Cause(p.ctx)
		}
		return nil, err
	}
	w := &SubgroupWriter{p: p, firstObject: h.FirstObject, priority: p.props.Priority, header: wire.SubgroupHeader{
		TrackAlias: p.r.id, Group: h.Group, Subgroup: h.Subgroup, FromFirst: h.SubgroupFromFirst, Priority: h.Priority,
		EndOfGroup: h.EndOfGroup, HasProperties: h.HasProperties,
	}}
	w.objectWriter.st, w.objectWriter.s = st, p.s
	if p.s.qlog != nil {
		w.id = p.s.qlog.streamID(st)
	}
	w.timeout = p.timeouts(w.own).object
	if h.Priority != nil {
		w.priority = *h.Priority
		if w.priority == p.props.Priority { // what the track's properties say, or DefaultPriority
			w.header.Priority = nil
		}
	}
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		st.CancelWrite(wire.ResetCancelled)
		if err := context.Cause(p.ctx); err != nil {
			return nil, err
		}
		return nil, ErrClosed // it is about to end
	}
	p.streams[w] = struct{}{}
	p.opened++
	if p.state.GroupOrder == wire.GroupOrderDescending {
		p.prioritize()
	} else {
		st.SetPriority(urgency(p.state.Priority, w.priority), false)
	}
	p.mu.Unlock()
	return w, nil
}

// prioritize gives every open stream its priority; mu is held. In ascending order those of equal urgency go in the order of
// opening, so that older groups complete first. A transport cannot put the newest first: in descending order the streams of
// the newest group stay where they are and those of older ones share what is left in turns, one level below.
func (p *Publication) prioritize() {
	var newest uint64
	for w := range p.streams {
		newest = max(newest, w.header.Group)
	}
	descending := p.state.GroupOrder == wire.GroupOrderDescending
	for w := range p.streams {
		u := urgency(p.state.Priority, w.priority)
		if descending && w.header.Group < newest {
			u = min(u+1, urgencyLast)
		}
		w.st.SetPriority(u, descending)
	}
}

// SendDatagram sends an object as a datagram, or drops it if it does not fit the path (§10.3).
func (p *Publication) SendDatagram(d Datagram) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	if !p.State().Forward {
		return ErrNoForward
	}
	priority := p.props.Priority
	if d.Priority != nil {
		priority = *d.Priority
	}
	if !p.sieve.Load().passes(Location{Group: d.Group, Object: d.ID}, wire.Ranged{ID: d.ID, Priority: priority, Properties: d.Properties}) {
		return nil
	}
	o := wire.Datagram{
		TrackAlias: p.r.id, Group: d.Group, ID: d.ID, Priority: d.Priority, Properties: d.Properties,
		EndOfGroup: d.EndOfGroup, HasStatus: d.Status != wire.StatusNormal, Status: d.Status, Payload: d.Payload,
	}
	b, err := o.Append(nil, p.s.v)
	if err != nil {
		return err
	}
	p.s.count.add(cDatagrams+sent, 1)
	if p.s.qlog != nil {
		p.s.qlog.datagram(true, o)
	}
	return p.s.conn.SendDatagram(b)
}
