package moqt

import (
	"context"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// ways are what a session does in the way of its draft. They are chosen when the session begins, by the rules of the draft, and nothing
// else in this package asks for the draft (TestNobodyAsksForTheDraft). A function without a comment does what its name says.
type ways struct {
	carry func(*Session) // gives the session its carrier

	// before asks for what came before a subscription.
	before  func(*Session, context.Context, *Subscription, *wire.Fetch, Location, FetchOptions) (*FetchReader, error)
	askFill func(*Subscription, *wire.Subscribe, uint64) // asks in SUBSCRIBE for so many groups up to the largest object
	// mayJoin is an error if a joining FETCH for the request with an id closes the session.
	mayJoin func(*Session, uint64) error
	// overtaken are requests of the peer that may still come; any: others may, too. requestTable.mu is held.
	overtaken func(*Session) (ids map[uint64]struct{}, any bool)
	joinsOwn  func(*request) bool // a joining FETCH may be for a request of this side
	forwards  func(context.Context, *request, *Publication, <-chan time.Time) bool
	resumed   func(*Publication, *Location) // the subscription goes on; Publication.mu is held

	// otherSubscription and subscribed find a subscription that stands in the way of another to the same track.
	otherSubscription func(*requestTable, *request) (other context.Context, theirs bool)
	subscribed        func(*requestTable, string) bool
	alias             func(*aliasTable, uint64, *Subscription) error // gives a subscription its alias
	accept            func(*PublishRequest, SubscribeOptions, wire.Parameters) (*Subscription, error)

	list         func(*NamespaceSubscription, context.Context, object.Namespace, SubscribeNamespaceOptions, *bool) error
	updatePrefix func(*NamespaceSubscription, context.Context, object.Namespace) error
	blocked      func(*NamespaceAnnouncer, object.TrackName) error
	finEnds      func() bool // FIN ends what the peer offers, or its request for a listing
	reserved     func(object.Namespace) bool

	ownTimeouts func(properties []byte) wire.SubgroupTimeouts // of a subgroup, by the properties of its first object

	nameRequest func(*Session, *wire.GoAway)
	checkNamed  func(*Session, *wire.GoAway) error
	largest     func(*Session, *Location) *Location
}

// waysOf are those of a draft: of each rule the way with it, then the way without.
func waysOf(v Version) ways {
	return ways{
		carry: wire.Choose(v, wire.OwnStreams, carryOnStreams, carryOnControl),

		before:    wire.Choose(v, wire.Fills, (*Session).fetchFill, (*Session).fetchJoining),
		askFill:   wire.Choose(v, wire.Fills, (*Subscription).askFill, askNothing),
		mayJoin:   wire.Choose(v, wire.JoinLargestObject, joinsLargest, anyMayJoin),
		overtaken: wire.Choose(v, wire.JoinWaits, skipped, noneOvertaken),
		joinsOwn:  wire.Choose(v, wire.JoinPublished, (*request).publishes, neverJoined),
		forwards:  wire.Choose(v, wire.JoinForwarding, forwards, alwaysForwards),
		resumed:   wire.Choose(v, wire.JoinResumed, (*Publication).joinAt, joinAtBeginning),

		otherSubscription: wire.Choose(v, wire.OneSubscription, (*requestTable).otherSubscription, noOther),
		subscribed:        wire.Choose(v, wire.OneSubscription, (*requestTable).subscribed, neverSubscribed),
		alias:             wire.Choose(v, wire.OneSubscription, (*aliasTable).add, (*aliasTable).share),
		accept:            wire.Choose(v, wire.AnswerShapes, (*PublishRequest).acceptAs, (*PublishRequest).acceptAndUpdate),

		list:         wire.Choose(v, wire.TracksApart, (*NamespaceSubscription).listApart, (*NamespaceSubscription).listAsOne),
		updatePrefix: wire.Choose(v, wire.ListingUpdates, (*NamespaceSubscription).updatePrefix, keepPrefix),
		blocked:      wire.Choose(v, wire.TracksApart, (*NamespaceAnnouncer).sendBlocked, tellNothing),
		finEnds:      wire.Choose(v, wire.FINEnds, yes, no),
		reserved:     wire.Choose(v, wire.SessionTracks, ofSession, ofAnybody),

		ownTimeouts: wire.Choose(v, wire.ObjectTimeouts, wire.ParseSubgroupTimeouts, ofTrackOnly),

		nameRequest: wire.Choose(v, wire.GoAwayNamesRequest, nameNext, nameNone),
		checkNamed:  wire.Choose(v, wire.GoAwayNamesRequest, checkNext, checkNone),
		largest:     wire.Choose(v, wire.OwnStreams, largestUnlessMistaken, largestAsIs),
	}
}

func carryOnStreams(s *Session) { s.conn, s.carrier = recoded{s.conn, s.v}, ownStreams{s: s} }
func carryOnControl(s *Session) { s.carrier = newControlMux(s) }

// joinsLargest: the subscription must have the filter Largest Object (draft-16 §9.16.2).
func joinsLargest(s *Session, id uint64) error {
	if sub := s.requests.get(id); sub != nil && !sub.own && !sub.joinable {
		return violation("joining fetch for request %d, not a subscription with filter largest object", id)
	}
	return nil
}

func askNothing(*Subscription, *wire.Subscribe, uint64) {}

func anyMayJoin(*Session, uint64) error { return nil }

func skipped(s *Session) (map[uint64]struct{}, bool)           { return s.requests.skipped, s.cfg.Lenient }
func noneOvertaken(*Session) (ids map[uint64]struct{}, _ bool) { return nil, false }

func (r *request) publishes() bool { return r.typ == typePublish }
func neverJoined(*request) bool    { return false }

func alwaysForwards(context.Context, *request, *Publication, <-chan time.Time) bool { return true }

// joinAt: a joining FETCH ends where the subscription was resumed.
func (p *Publication) joinAt(largest *Location)   { p.saved = largest }
func joinAtBeginning(_ *Publication, _ *Location) {}

func noOther(*requestTable, *request) (context.Context, bool) { return nil, false }
func neverSubscribed(*requestTable, string) bool              { return false }

func keepPrefix(*NamespaceSubscription, context.Context, object.Namespace) error {
	return wire.ErrValue
}
func tellNothing(*NamespaceAnnouncer, object.TrackName) error { return nil }

func yes() bool { return true }
func no() bool  { return false }

// ofSession: names below ".session" are the session's own and those below "." nobody's (draft-18 §3.2.2).
func ofSession(ns object.Namespace) bool {
	return len(ns) > 0 && (ns[0] == ".session" || ns[0] == ".")
}
func ofAnybody(object.Namespace) bool { return false }

func ofTrackOnly([]byte) (none wire.SubgroupTimeouts) { return none }

// nameNext gives GOAWAY the id of the first request that is not taken any more (draft-18 §10.4).
func nameNext(s *Session, m *wire.GoAway) {
	_, next := s.requests.following()
	m.RequestID = &next
}

func nameNone(*Session, *wire.GoAway) {}

// checkNext: the id in GOAWAY is one of this side.
func checkNext(s *Session, m *wire.GoAway) error {
	if m.RequestID == nil {
		return violation("GOAWAY without a request id on the control stream")
	}
	own := uint64(1)
	if s.client {
		own = 0
	}
	if *m.RequestID&1 != own {
		return &wire.Error{Code: wire.InvalidRequestID, What: "GOAWAY with a request id of its sender"}
	}
	return nil
}

func checkNone(*Session, *wire.GoAway) error { return nil }

func largestAsIs(_ *Session, l *Location) *Location { return l }
