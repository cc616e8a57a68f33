package moqt

import (
	"context"
	"fmt"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TrackInfo is what a publisher says about a track when a subscription or fetch begins.
type TrackInfo struct {
	Largest    *Location     // largest object so far; nil if there is none yet
	Expires    time.Duration // after which the publisher will end the subscription; 0 never
	Properties []byte        // track properties as key-value-pairs, forwarded unchanged (§10, §11)
	// Current, if not nil, says what is the largest object when a subscription that was paused goes on; else it is the largest that
	// was sent. It is for Accept alone.
	Current func() *Location
}

// SubscribeOptions shape a subscription. The zero value asks for every object from now on.
type SubscribeOptions struct {
	Filter          Filter        // zero: no filter
	Priority        *uint8        // subscriber priority, lower first; nil: 128
	GroupOrder      GroupOrder    // zero: the publisher's
	NoForward       bool          // start paused: Forward State 0
	DeliveryTimeout time.Duration // 0: none; rounded up to milliseconds
	SubgroupTimeout time.Duration // of a whole subgroup, from draft 18 on; 0: none; rounded up to milliseconds
	NewGroup        *uint64       // NEW_GROUP_REQUEST: largest group known plus one, 0 for none
	Rendezvous      time.Duration // how long a relay may wait for a publisher before it says TIMEOUT; not told in draft 16
	Tokens          []Token
	// Fill asks in the same message for so many groups up to the largest object, the group in progress first among them, where the
	// draft has that: Subscription.Fill reads them. It is for Subscribe alone.
	Fill uint64
}

func (o SubscribeOptions) parameters() wire.Parameters {
	p := wire.Parameters{
		DeliveryTimeout: milliseconds(o.DeliveryTimeout), Tokens: o.Tokens, SubscriberPriority: o.Priority,
		GroupOrder: o.GroupOrder, NewGroupRequest: o.NewGroup,
	}
	if ms := milliseconds(o.SubgroupTimeout); ms > 0 {
		p.SubgroupDeliveryTimeout = &ms
	}
	if o.NoForward {
		p.Forward = new(bool)
	}
	if o.Filter.Type != wire.FilterNone {
		p.SubscriptionFilter = &o.Filter
	}
	return p
}

// UpdateOptions are what REQUEST_UPDATE can change; nil leaves a value as it is.
type UpdateOptions struct {
	Filter          *Filter
	Priority        *uint8
	Forward         *bool
	DeliveryTimeout *time.Duration
	SubgroupTimeout *time.Duration // 0: none
	NewGroup        *uint64
	Tokens          []Token
}

// Subscription is the subscriber's end of a subscription, whoever started it.
type Subscription struct {
	*movable
	s      *Session
	r      *request // SUBSCRIBE of this side, or PUBLISH of the peer
	track  object.TrackName
	info   TrackInfo
	props  wire.TrackProperties
	order  GroupOrder
	filter Filter
	ctx    context.Context
	cancel context.CancelCauseFunc

	alias uint64
	fill  *FetchReader // that SUBSCRIBE asked for; nil: none

	mu          sync.Mutex // guards what follows; no other lock is taken under it
	established bool       // its alias is known
	forward     bool       // it is not paused
	joined      *Location  // largest object when it began, or was last resumed
	queue       []*SubgroupReader
	datagrams   []Datagram
	dropped     uint64
	seen        uint64            // streams that arrived
	done        *wire.PublishDone // once received
	timer       *time.Timer       // after PUBLISH_DONE
	unwatch     func() bool       // likewise: takes it off the end of the session
	endErr      error             // set once no more streams will be taken
	wake        chan struct{}     // capacity 1: something above changed
	wakeData    chan struct{}
}

func (s *Session) newSubscription(track object.TrackName, r *request) *Subscription {
	sub := &Subscription{movable: &r.movable, s: s, r: r, track: track, wake: make(chan struct{}, 1), wakeData: make(chan struct{}, 1)}
	sub.ctx, sub.cancel = context.WithCancelCause(s.ctx)
	return sub
}

// Subscribe asks for a track and waits for SUBSCRIBE_OK (*RequestError if refused).
func (s *Session) Subscribe(ctx context.Context, track object.TrackName, o SubscribeOptions) (*Subscription, error) {
	if err := wire.CheckTrackName(track); err != nil {
		return nil, err
	}
	m := &wire.Subscribe{Track: track, Parameters: o.parameters()}
	if ms := milliseconds(o.Rendezvous); ms > 0 {
		m.Parameters.RendezvousTimeout = &ms
	}
	r := s.newRequest(m, true, nobody{})
	sub := s.newSubscription(track, r)
	sub.filter, sub.forward, r.owner = o.Filter, !o.NoForward, sub
	if o.Fill > 0 {
		s.ways.askFill(sub, m, o.Fill)
	}
	if err := sub.open(ctx, m, o); err != nil {
		sub.cancel(err)
		return nil, err
	}
	if sub.fill != nil {
		sub.fill.expect()
	}
	return sub, nil
}

func (sub *Subscription) open(ctx context.Context, m *wire.Subscribe, o SubscribeOptions) error {
	answer, err := sub.r.ask(ctx, m)
	if err != nil {
		return err
	}
	ok, is := answer.(*wire.SubscribeOK)
	if !is {
		return sub.r.broke(violation("%T in answer to SUBSCRIBE", answer))
	}
	if refusal := sub.s.unsupported(ok.Properties); refusal != nil {
		sub.r.cancel(nil)
		return refusal
	}
	if err := sub.establish(ok.TrackAlias, ok.Parameters, ok.Properties, o.GroupOrder); err != nil {
		return sub.r.broke(err)
	}
	sub.r.follow()
	return nil
}

// establish registers the subscription under its alias, before a later message is looked at.
func (sub *Subscription) establish(alias uint64, p wire.Parameters, properties []byte, order GroupOrder) error {
	props, err := wire.ParseTrackProperties(properties, sub.s.v)
	if err != nil {
		return err
	}
	if err := unknownParameters(p); err != nil {
		return err
	}
	sub.alias, sub.props = alias, props
	sub.info = TrackInfo{Largest: p.LargestObject, Properties: properties}
	if p.Expires != nil {
		sub.info.Expires = duration(*p.Expires)
	}
	sub.order = or(order, props.GroupOrder)
	if err := sub.s.ways.alias(sub.s.aliases, alias, sub); err != nil {
		return err
	}
	sub.mu.Lock()
	sub.established, sub.joined = true, p.LargestObject
	sub.mu.Unlock()
	return nil
}

// unsupported refuses a track with a property that must be understood and is not (draft-18 §2.5.1).
func (s *Session) unsupported(properties []byte) *RequestError {
	if t, ok := wire.MandatoryProperty(properties, s.v); ok {
		return &RequestError{Code: wire.RequestUnsupportedExtension, Reason: fmt.Sprintf("track property %#x", t)}
	}
	return nil
}

// unknownParameters: every message parameter must be known (§9.2).
func unknownParameters(p wire.Parameters) error {
	if len(p.Unknown) > 0 {
		return violation("unknown parameter %#x", p.Unknown[0].Type)
	}
	return nil
}

// Track is the full track name.
func (sub *Subscription) Track() object.TrackName { return sub.track }

// Info is what SUBSCRIBE_OK or PUBLISH said.
func (sub *Subscription) Info() TrackInfo { return sub.info }

// GroupOrder is the order in force: the subscriber's wish or else the publisher's.
func (sub *Subscription) GroupOrder() GroupOrder { return sub.order }

// Context ends when the subscription did.
func (sub *Subscription) Context() context.Context { return sub.ctx }

// AcceptSubgroup returns the next subgroup stream, in order of arrival. Streams not accepted keep their stream
// credit, so a subscriber that stops accepting stops its publisher (Config.MaxStreams); nothing is dropped. Streams are to be read at the
// same time: they share the connection's window (Config.MaxBuffered), so one may wait for ever while the bytes of others lie unread.
// After the end of the subscription and all its streams it returns *DoneError.
func (sub *Subscription) AcceptSubgroup(ctx context.Context) (*SubgroupReader, error) {
	for {
		sub.mu.Lock()
		if len(sub.queue) > 0 {
			r := sub.queue[0]
			sub.queue[0] = nil
			sub.queue = sub.queue[1:]
			more := len(sub.queue) > 0 || sub.endErr != nil
			sub.mu.Unlock()
			if more {
				signal(sub.wake)
			}
			return r, nil
		}
		err := sub.endErr
		sub.mu.Unlock()
		if err != nil {
			signal(sub.wake) // for the others
			return nil, err
		}
		select {
		case <-sub.wake:
		case <-ctx.Done():
			if !sub.isOver() {
				return nil, context.Cause(ctx)
			}
		}
	}
}

// isOver reports that no more comes but what waits to be accepted. The context of a PUBLISH ends with its subscription, which is
// no reason to leave that.
func (sub *Subscription) isOver() bool {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.endErr != nil
}

// AcceptDatagram returns the next object that came as a datagram.
func (sub *Subscription) AcceptDatagram(ctx context.Context) (Datagram, error) {
	for {
		sub.mu.Lock()
		if len(sub.datagrams) > 0 {
			d := sub.datagrams[0]
			sub.datagrams = sub.datagrams[1:]
			sub.mu.Unlock()
			signal(sub.wakeData)
			return d, nil
		}
		err := sub.endErr
		sub.mu.Unlock()
		if err != nil {
			signal(sub.wakeData)
			return Datagram{}, err
		}
		select {
		case <-sub.wakeData:
		case <-ctx.Done():
			if !sub.isOver() {
				return Datagram{}, context.Cause(ctx)
			}
		}
	}
}

// DroppedDatagrams counts datagrams dropped because nobody took them (Config.MaxPendingDatagrams).
func (sub *Subscription) DroppedDatagrams() uint64 {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.dropped
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (sub *Subscription) deliver(r *SubgroupReader) {
	sub.mu.Lock()
	if sub.endErr != nil {
		sub.mu.Unlock()
		r.cancel(wire.ResetCancelled)
		return
	}
	sub.queue = append(sub.queue, r)
	complete := sub.count()
	sub.mu.Unlock()
	signal(sub.wake)
	if complete {
		sub.finishDone()
	}
}

// count counts a stream that arrived, and reports whether it was the last; mu is held.
func (sub *Subscription) count() bool {
	sub.seen++
	return sub.done != nil && sub.endErr == nil && sub.seen >= sub.done.StreamCount
}

// wants reports whether some objects of a group pass the filter, and how many streams came.
func (sub *Subscription) wants(group uint64) (wants bool, seen uint64) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	start, last := bounds(sub.filter, sub.info.Largest)
	return start.Group <= group && group <= last.Group, sub.seen
}

// filled counts the stream of a fill.
func (sub *Subscription) filled() {
	sub.mu.Lock()
	complete := sub.count()
	sub.mu.Unlock()
	if complete {
		sub.finishDone()
	}
}

func (sub *Subscription) deliverDatagram(d Datagram) {
	sub.mu.Lock()
	if len(sub.datagrams) >= sub.s.cfg.MaxPendingDatagrams {
		sub.datagrams = sub.datagrams[1:]
		sub.dropped++
		sub.s.count.add(cDatagramsDropped, 1)
	}
	sub.datagrams = append(sub.datagrams, d)
	sub.mu.Unlock()
	signal(sub.wakeData)
}

// live reports that it is established and not ending.
func (sub *Subscription) live() bool {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.established && sub.done == nil && sub.endErr == nil
}

// ending reports that no more is expected of the subscription but late streams.
func (sub *Subscription) ending() bool {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.done != nil || sub.endErr != nil
}

// Update changes filter, priority or forward state and waits for the answer. If the publisher refuses, it also ends the
// subscription (§9.11.1).
func (sub *Subscription) Update(ctx context.Context, o UpdateOptions) error {
	p := wire.Parameters{
		Tokens: o.Tokens, SubscriberPriority: o.Priority, SubscriptionFilter: o.Filter, Forward: o.Forward, NewGroupRequest: o.NewGroup,
	}
	if o.DeliveryTimeout != nil {
		p.DeliveryTimeout = milliseconds(*o.DeliveryTimeout)
		p.NoDeliveryTimeout = p.DeliveryTimeout == 0
	}
	if o.SubgroupTimeout != nil {
		ms := milliseconds(*o.SubgroupTimeout)
		p.SubgroupDeliveryTimeout = &ms
	}
	said, err := sub.r.update(ctx, p, nil)
	if err == nil {
		sub.updated(o, said)
	}
	return err
}

// updated notes what the publisher accepted, and what it said.
func (sub *Subscription) updated(o UpdateOptions, said wire.Parameters) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if o.Filter != nil {
		sub.filter = *o.Filter
	}
	if o.Forward != nil {
		if *o.Forward && !sub.forward {
			sub.joined = said.LargestObject
		}
		sub.forward = *o.Forward
	}
}
