package moqt

import (
	"context"
	"fmt"
	"math"
	"sync"
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

// PublicationState is what a subscriber asked for, updates included.
type PublicationState struct {
	Forward         bool
	Priority        uint8
	GroupOrder      GroupOrder
	Filter          Filter        // as sent
	Start           Location      // first location that passes the filter
	EndGroup        uint64        // last group that passes; math.MaxUint64 for an open end
	DeliveryTimeout time.Duration // the smaller of subscriber's and track's; 0 none
	SubgroupTimeout time.Duration // likewise for whole subgroups, draft 18; see SubgroupWriter.Published
	NewGroup        *uint64       // last NEW_GROUP_REQUEST
	Resumed         *Location     // largest object when the subscription was last resumed: what follows is to be sent
}

// Wants reports whether an object passes the filter.
func (s PublicationState) Wants(l Location) bool { return !l.Less(s.Start) && l.Group <= s.EndGroup }

// resolve computes start and end of the filter for a track whose largest object is known (§5.1.2).
func (s *PublicationState) resolve(largest *Location) {
	s.Start, s.EndGroup = Location{}, math.MaxUint64
	switch s.Filter.Type {
	case wire.FilterNextGroupStart:
		if largest != nil {
			s.Start = Location{Group: largest.Group + 1}
		}
	case wire.FilterLargestObject:
		if largest != nil {
			s.Start = Location{Group: largest.Group, Object: largest.Object + 1}
		}
	case wire.FilterAbsoluteStart:
		s.Start = s.Filter.Start
	case wire.FilterAbsoluteRange:
		s.Start, s.EndGroup = s.Filter.Start, s.Filter.EndGroup
	}
}

// apply takes over the parameters of a request or update.
func (s *PublicationState) apply(p wire.Parameters) {
	if p.Forward != nil {
		s.Forward = *p.Forward
	}
	if p.SubscriberPriority != nil {
		s.Priority = *p.SubscriberPriority
	}
	if p.GroupOrder != wire.GroupOrderDefault {
		s.GroupOrder = p.GroupOrder
	}
	if p.SubscriptionFilter != nil {
		s.Filter = *p.SubscriptionFilter
	}
	if p.DeliveryTimeout > 0 || p.NoDeliveryTimeout {
		s.DeliveryTimeout = duration(p.DeliveryTimeout)
	}
	if p.SubgroupDeliveryTimeout != nil {
		s.SubgroupTimeout = duration(*p.SubgroupDeliveryTimeout)
	}
	if p.NewGroupRequest != nil {
		s.NewGroup = p.NewGroupRequest
	}
}

// Publication is the publisher's end of a subscription, whoever started it.
type Publication struct {
	movable
	s       *Session
	id      uint64 // request id of SUBSCRIBE or PUBLISH
	alias   uint64
	track   object.TrackName
	props   wire.TrackProperties
	in      *inbound         // the peer's SUBSCRIBE, if that began it
	current func() *Location // TrackInfo.Current
	ctx     context.Context
	cancel  context.CancelCauseFunc
	updates chan struct{}

	mu      sync.Mutex // guards what follows
	state   PublicationState
	largest Location  // largest object sent or known
	some    bool      // largest is valid
	saved   *Location // largest when the subscription began, or was resumed, for joining fetches (§5.1)
	streams map[*SubgroupWriter]struct{}
	opened  uint64
	over    bool
}

func (s *Session) newPublication(id uint64, track object.TrackName, info TrackInfo, in *inbound) (*Publication, error) {
	props, err := wire.ParseTrackProperties(info.Properties, s.v)
	if err != nil {
		return nil, err
	}
	p := &Publication{
		movable: newMovable(s), s: s, id: id, alias: id, track: track, props: props, in: in, saved: info.Largest, current: info.Current,
		updates: make(chan struct{}, 1), streams: map[*SubgroupWriter]struct{}{},
	}
	if info.Largest != nil {
		p.largest, p.some = *info.Largest, true
	}
	p.state = PublicationState{Forward: true, Priority: DefaultPriority, GroupOrder: props.GroupOrder, EndGroup: math.MaxUint64}
	if in != nil {
		p.ctx, p.cancel = in.ctx, in.cancel
	} else {
		p.ctx, p.cancel = context.WithCancelCause(s.ctx)
	}
	return p, nil
}

// Publish offers a track and waits for PUBLISH_OK (*RequestError if refused).
func (s *Session) Publish(ctx context.Context, track object.TrackName, o PublishOptions) (*Publication, error) {
	if err := wire.CheckTrackName(track); err != nil {
		return nil, err
	}
	p, err := s.newPublication(0, track, TrackInfo{Largest: o.Largest, Properties: o.Properties}, nil)
	if err != nil {
		return nil, err
	}
	err = s.oldRequest(ctx, func(id uint64) wire.Message {
		p.id, p.alias = id, id
		s.mu.Lock()
		s.pubs[id] = p // pending: a SUBSCRIBE to the same track is a duplicate from now on (§5.1)
		s.mu.Unlock()
		params := wire.Parameters{LargestObject: s.largestFor(o.Largest), Tokens: o.Tokens}
		if o.NoForward {
			params.Forward = new(bool)
			p.state.Forward = false
		}
		if ms := milliseconds(o.Expires); ms > 0 {
			params.Expires = &ms
		}
		return &wire.Publish{RequestID: id, Track: track, TrackAlias: p.alias, Parameters: params, Properties: o.Properties}
	}, func(m wire.Message, late bool) error {
		ok, is := m.(*wire.PublishOK)
		if !is {
			return violation("%T in answer to PUBLISH", m)
		}
		if err := unknownParameters(ok.Parameters); err != nil {
			return err
		}
		if late {
			s.spawn(func() {
				s.send(&wire.PublishDone{RequestID: ok.RequestID, Code: wire.DoneInternalError, Reason: "publisher left"})
			})
			return nil
		}
		p.mu.Lock()
		p.state.apply(ok.Parameters)
		p.state.resolve(p.saved)
		p.limitTimeout()
		p.mu.Unlock()
		return nil
	})
	if err != nil {
		p.end(err)
		return nil, err
	}
	return p, nil
}

// limitTimeout applies the track's own delivery timeout; mu is held.
func (p *Publication) limitTimeout() {
	if t := duration(p.props.DeliveryTimeout); t > 0 && (p.state.DeliveryTimeout == 0 || t < p.state.DeliveryTimeout) {
		p.state.DeliveryTimeout = t
	}
	if t := duration(p.props.SubgroupTimeout); t > 0 && (p.state.SubgroupTimeout == 0 || t < p.state.SubgroupTimeout) {
		p.state.SubgroupTimeout = t
	}
}

// SubscribeRequest is a peer's SUBSCRIBE.
type SubscribeRequest struct {
	Track  object.TrackName
	State  PublicationState // Start and EndGroup are resolved by Accept
	Tokens []Token
	// Rendezvous is how long the peer would wait for somebody to publish the track; 0: it wants its answer now.
	Rendezvous time.Duration

	in     *inbound
	params wire.Parameters
}

func (s *Session) onSubscribe(m *wire.Subscribe) error {
	if err := unknownParameters(m.Parameters); err != nil {
		return err
	}
	in, err := s.admit(m.RequestID, m)
	if err != nil {
		return err
	}
	tokens, refusal, err := s.inTokens.resolve(m.Parameters.Tokens)
	if err != nil {
		return err
	}
	if refusal == nil {
		refusal = s.refuseNewRequest(m.Track)
	}
	s.mu.Lock()
	s.requests.turn++
	in.kind, in.track, in.turn = kindSubscribe, m.Track.String(), s.requests.turn
	s.mu.Unlock()
	if refusal == nil && !s.onlySubscription(in) {
		refusal = &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "already subscribed"}
	}
	if refusal != nil {
		in.refuse(refusal)
		return nil
	}
	r := &SubscribeRequest{Track: m.Track, Tokens: tokens, in: in, params: m.Parameters}
	r.State = PublicationState{Forward: true, Priority: DefaultPriority, EndGroup: math.MaxUint64}
	r.State.apply(m.Parameters)
	if ms := m.Parameters.RendezvousTimeout; ms != nil {
		r.Rendezvous = duration(*ms)
	}
	in.handle(func(ctx context.Context) { s.cfg.Handler.Subscribe(ctx, r) })
	return nil
}

// overtakeWait is how long a SUBSCRIBE waits for the end of another subscription to the track, where each has a stream of its
// own: a peer that cancels and subscribes anew in one breath does nothing wrong, but which stream comes first is chance.
const overtakeWait = time.Second

// onlySubscription reports whether the peer has no other subscription to in's track, and none on its way.
func (s *Session) onlySubscription(in *inbound) bool {
	var late <-chan time.Time
	for {
		other, theirs := s.otherSubscription(in)
		switch {
		case other == nil:
			return true
		case !theirs || !s.v.RequestStreams():
			return false
		case late == nil:
			timer := time.NewTimer(overtakeWait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-other.Done():
		case <-in.ctx.Done():
			return false
		case <-late:
			return false
		}
	}
}

// otherSubscription gives the context of a subscription to in's track that came before it, or nil; theirs: the peer began it.
func (s *Session) otherSubscription(in *inbound) (other context.Context, theirs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pubs {
		if p.id != in.id && p.track.String() == in.track && p.ctx.Err() == nil {
			return p.ctx, p.in != nil
		}
	}
	for _, o := range s.inbounds {
		if o.kind == kindSubscribe && o.turn < in.turn && o.track == in.track && o.ctx.Err() == nil {
			return o.ctx, true
		}
	}
	return nil, false
}

// Accept answers SUBSCRIBE_OK. info.Largest decides where relative filters start.
func (r *SubscribeRequest) Accept(info TrackInfo) (*Publication, error) {
	s := r.in.s
	p, err := s.newPublication(r.in.id, r.Track, info, r.in)
	if err != nil {
		return nil, err
	}
	p.state.apply(r.params)
	p.state.resolve(info.Largest)
	p.limitTimeout()
	ok := &wire.SubscribeOK{RequestID: r.in.id, TrackAlias: p.alias, Properties: info.Properties, Parameters: wire.Parameters{LargestObject: s.largestFor(info.Largest)}}
	if ms := milliseconds(info.Expires); ms > 0 {
		ok.Parameters.Expires = &ms
	}
	s.mu.Lock()
	s.pubs[p.id] = p
	s.mu.Unlock()
	if err := r.in.answer(ok); err != nil {
		if err != ErrAnswered {
			p.end(err)
		}
		return nil, err
	}
	r.in.settle(p)
	return p, nil
}

// Reject answers REQUEST_ERROR.
func (r *SubscribeRequest) Reject(code RequestCode, reason string) error {
	return r.in.reject(code, reason)
}

func (s *Session) onUnsubscribe(m *wire.Unsubscribe) error {
	s.mu.Lock()
	p, in := s.pubs[m.RequestID], s.inbounds[m.RequestID]
	s.mu.Unlock()
	switch {
	case p != nil:
		p.end(ErrClosed)
	case in != nil:
		in.cancel(ErrClosed) // not answered yet
	}
	return nil
}

func (s *Session) onRequestUpdate(m *wire.RequestUpdate) error {
	if err := unknownParameters(m.Parameters); err != nil {
		return err
	}
	in, err := s.admit(m.RequestID, m)
	if err != nil {
		return err
	}
	_, refusal, err := s.inTokens.resolve(m.Parameters.Tokens)
	if err != nil {
		return err
	}
	s.mu.Lock()
	p, existing := s.pubs[m.ExistingRequestID], s.inbounds[m.ExistingRequestID]
	known := m.ExistingRequestID < s.requests.next || m.ExistingRequestID < s.requests.peerNext
	s.mu.Unlock()
	ok := &wire.RequestOK{RequestID: m.RequestID}
	switch {
	case refusal != nil:
	case p != nil:
		ok.Parameters.LargestObject = s.largestFor(p.update(m.Parameters))
	case existing != nil && existing.kind == kindSubscribe:
		refusal = &RequestError{Code: wire.RequestInternalError, Reason: "subscription not established yet"}
	case existing != nil:
		existing.update(m.Parameters)
	case known:
		refusal = &RequestError{Code: wire.RequestDoesNotExist, Reason: "request is over"} // it may have ended while this was under way
	default:
		return violation("REQUEST_UPDATE of unknown request %d", m.ExistingRequestID)
	}
	answer := s.spawn
	if s.v.RequestStreams() {
		answer = func(f func()) { f() } // in order, and nobody else waits for this reader
	}
	answer(func() {
		defer in.finish()
		if refusal == nil {
			in.answer(ok)
			return
		}
		in.answer(&wire.RequestError{RequestID: in.id, Code: refusal.Code, Reason: refusal.Reason})
		if p != nil {
			p.Done(wire.DoneUpdateFailed, refusal.Reason) // §9.11.1
		}
	})
	return nil
}

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

// update applies a REQUEST_UPDATE and returns the largest object at that moment, which its answer tells.
func (p *Publication) update(params wire.Parameters) (largest *Location) {
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
		if p.s.v.Has(wire.JoinResumed) {
			p.saved = largest
		}
	}
	if params.SubscriptionFilter != nil {
		p.state.resolve(largest)
	}
	p.limitTimeout()
	if params.SubscriberPriority != nil {
		p.prioritize()
	}
	p.mu.Unlock()
	signal(p.updates)
	return largest
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
	if max(h.Group, h.Subgroup) > p.s.v.MaxInteger() {
		return nil, fmt.Errorf("subgroup %d of group %d: %w", h.Subgroup, h.Group, wire.ErrValue)
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
		TrackAlias: p.alias, Group: h.Group, Subgroup: h.Subgroup, FromFirst: h.SubgroupFromFirst, Priority: h.Priority,
		EndOfGroup: h.EndOfGroup, HasProperties: h.HasProperties,
	}}
	w.objectWriter.st, w.objectWriter.s = st, p.s
	if p.s.qlog != nil {
		w.id = p.s.qlog.streamID(st)
	}
	w.timeout = p.State().DeliveryTimeout
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
	o := wire.Datagram{
		TrackAlias: p.alias, Group: d.Group, ID: d.ID, Priority: d.Priority, Properties: d.Properties,
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

// Done ends the subscription with PUBLISH_DONE and the count of streams. Streams still open are reset first, because
// the draft wants every stream closed before.
func (p *Publication) Done(code DoneCode, reason string) error {
	opened, ok := p.end(ErrClosed)
	if !ok {
		return nil
	}
	if p.s.ctx.Err() != nil {
		return context.Cause(p.s.ctx)
	}
	return p.s.orCause(p.s.send(&wire.PublishDone{RequestID: p.id, Code: code, StreamCount: opened, Reason: reason}))
}

// end resets what is open and forgets the publication; ok is false if it was over already.
func (p *Publication) end(cause error) (opened uint64, ok bool) {
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return p.opened, false
	}
	p.over = true
	var ws []*SubgroupWriter
	for w := range p.streams {
		ws = append(ws, w)
	}
	opened = p.opened
	p.mu.Unlock()
	for _, w := range ws {
		w.st.CancelWrite(wire.ResetCancelled)
		w.resetSent(wire.ResetCancelled)
	}
	p.s.mu.Lock()
	delete(p.s.pubs, p.id)
	p.s.mu.Unlock()
	p.cancel(cause)
	if p.in != nil {
		p.in.finish()
	}
	return opened, true
}

// forget removes a stream that was closed or reset.
func (p *Publication) forget(w *SubgroupWriter) {
	p.mu.Lock()
	delete(p.streams, w)
	if p.state.GroupOrder == wire.GroupOrderDescending {
		p.prioritize() // another group may be the newest now
	}
	p.mu.Unlock()
}
