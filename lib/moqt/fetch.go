package moqt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// FetchOptions shape a fetch.
type FetchOptions struct {
	Priority   *uint8
	GroupOrder GroupOrder // zero: ascending
	Tokens     []Token
	// FillTimeout is how long a relay may wait in all for objects it does not have; nil: as long as it likes. Not told in
	// draft 16.
	FillTimeout *time.Duration
}

// FetchInfo is what FETCH_OK says.
type FetchInfo struct {
	EndOfTrack bool     // End is the track's last object, all of it is published
	End        Location // where the response ends, exclusive; Object 0: with that whole group (§9.17)
	Properties []byte   // track properties
}

// FetchKind tells objects from the ranges between them.
type FetchKind uint8

// Kinds of entries in a fetch stream.
const (
	FetchedObject FetchKind = iota
	// FetchedNonExistent: nothing exists between the last entry and this location, inclusive.
	FetchedNonExistent
	// FetchedUnknown: the publisher does not know about that range.
	FetchedUnknown
)

// FetchObject is one entry of a fetch stream.
type FetchObject struct {
	Kind       FetchKind
	Group      uint64
	Subgroup   uint64
	ID         uint64
	Priority   uint8
	Datagram   bool   // was published as a datagram: no subgroup
	Properties []byte // key-value-pairs, valid until the next call of Next
	Size       uint64
	TimedOut   bool // FetchedUnknown: because it could not be had in time. From draft 20 on
}

// Fetch asks for the objects from start to before end; end.Object 0 means the whole group end.Group (§9.16.1). It
// returns when the publisher accepted or the response begins (*RequestError if refused).
func (s *Session) Fetch(ctx context.Context, track object.TrackName, start, end Location, o FetchOptions) (*FetchReader, error) {
	if err := wire.CheckTrackName(track); err != nil {
		return nil, err
	}
	return s.fetch(ctx, &wire.Fetch{FetchType: wire.FetchStandalone, Track: track, Start: start, End: end}, start, o)
}

// FetchRelative fetches what came before a subscription with filter LargestObject, beginning groups before its
// largest group (§9.16.2).
func (s *Session) FetchRelative(ctx context.Context, sub *Subscription, groups uint64, o FetchOptions) (*FetchReader, error) {
	m := &wire.Fetch{FetchType: wire.FetchRelativeJoining, JoiningRequestID: sub.r.id, JoiningStart: groups}
	return s.ways.before(s, ctx, sub, m, Location{}, o)
}

// FetchAbsolute does so beginning at a group.
func (s *Session) FetchAbsolute(ctx context.Context, sub *Subscription, group uint64, o FetchOptions) (*FetchReader, error) {
	m := &wire.Fetch{FetchType: wire.FetchAbsoluteJoining, JoiningRequestID: sub.r.id, JoiningStart: group}
	return s.ways.before(s, ctx, sub, m, Location{Group: group}, o)
}

// fetchJoining makes a joining FETCH.
func (s *Session) fetchJoining(ctx context.Context, _ *Subscription, m *wire.Fetch, start Location, o FetchOptions) (*FetchReader, error) {
	return s.fetch(ctx, m, start, o)
}

func (o FetchOptions) parameters() wire.Parameters {
	p := wire.Parameters{SubscriberPriority: o.Priority, GroupOrder: o.GroupOrder}
	if o.FillTimeout != nil {
		ms := milliseconds(*o.FillTimeout)
		p.FillTimeout = &ms
	}
	return p
}

func (s *Session) newFetchReader(o FetchOptions) *FetchReader {
	f := &FetchReader{sess: s, descending: o.GroupOrder == wire.GroupOrderDescending, begun: make(chan struct{}), told: make(chan struct{})}
	f.state.Descending = f.descending
	return f
}

func (s *Session) fetch(ctx context.Context, m *wire.Fetch, start Location, o FetchOptions) (*FetchReader, error) {
	m.Parameters = o.parameters()
	m.Parameters.Tokens = o.Tokens
	f := s.newFetchReader(o)
	ctx, cancel := s.responseContext(ctx)
	defer cancel()
	f.r = s.newRequest(m, true, f)
	f.movable = &f.r.movable
	if err := f.r.open(ctx, m); err != nil {
		return nil, err
	}
	s.spawn(func() { f.listen(start) })
	select {
	case <-f.begun:
		if f.failed != nil { // refused before the response began
			return nil, f.failed
		}
		return f, nil
	case <-f.told:
		if f.refused != nil {
			return nil, f.refused
		}
		return f, nil
	case <-ctx.Done():
		f.Cancel()
		return nil, context.Cause(ctx)
	}
}

// listen waits for the answer to the fetch, which may come after its objects, and then for the end of the request.
func (f *FetchReader) listen(start Location) {
	m, err := f.r.await(context.Background())
	if err == nil {
		err = f.accepted(m, start)
	}
	f.refused = err
	if err != nil {
		f.fail(err)
		close(f.told)
		return
	}
	f.mu.Lock()
	f.answered = true
	read := f.read
	f.mu.Unlock()
	close(f.told)
	if read {
		f.r.close()
	}
	f.sess.fail(f.r.serve())
}

// accepted takes FETCH_OK.
func (f *FetchReader) accepted(m wire.Message, start Location) error {
	ok, is := m.(*wire.FetchOK)
	if !is {
		return f.r.broke(violation("%T in answer to FETCH", m))
	}
	if err := unknownParameters(ok.Parameters); err != nil {
		return f.r.broke(err)
	}
	if ok.End.Less(Location{Group: start.Group}) || ok.End.Object != 0 && ok.End.Less(start) {
		return f.r.broke(violation("FETCH_OK ends at %v before the start %v", ok.End, start)) // §9.17
	}
	if refusal := f.sess.unsupported(ok.Properties); refusal != nil {
		f.r.cancel(nil)
		return refusal
	}
	f.info = FetchInfo{EndOfTrack: ok.EndOfTrack, End: ok.End, Properties: ok.Properties}
	return nil
}

// FetchReader reads the response to a fetch. It is not for concurrent use, except Cancel and Info.
type FetchReader struct {
	*movable
	objectReader
	sess       *Session
	r          *request      // FETCH; nil: it is a fill
	sub        *Subscription // that it fills
	info       FetchInfo     // valid once told, if it was not refused
	refused    error         // likewise
	descending bool
	told       chan struct{} // closed when the answer came
	begun      chan struct{} // closed when the stream came
	state      wire.FetchState
	last       Location
	some       bool

	mu       sync.Mutex // guards what follows, and the handing over of the stream; no other lock is taken under it
	failed   error      // why no stream will come
	answered bool       // FETCH_OK came
	read     bool       // the response was read to its end
	over     bool       // Cancel was called
}

func (f *FetchReader) take(m wire.Message) error { return nobody{}.take(m) }

func (f *FetchReader) ended(why error) { f.fail(why) }

// takeFetchStream hands a fetch stream to its reader.
func (s *Session) takeFetchStream(id uint64, r objectReader) error {
	f := s.requests.takeFill(id)
	if r := s.requests.get(id); f == nil && r != nil && r.own {
		if f = r.fillOf(); f == nil {
			f, _ = r.ownedBy().(*FetchReader)
		}
	}
	if f != nil && f.sub != nil {
		f.sub.filled()
	}
	if f == nil {
		r.cancel(wire.ResetCancelled)
		if own, _ := s.requests.following(); id >= own || id&1 != own&1 {
			return violation("fetch stream for request %d, which was never made", id)
		}
		return nil // cancelled
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.begun:
		if f.failed == nil {
			return violation("second fetch stream for request %d", id)
		}
		r.cancel(wire.ResetCancelled)
		return nil
	default:
	}
	f.objectReader = r
	close(f.begun)
	return nil
}

// fail ends a fetch whose stream has not come.
func (f *FetchReader) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.begun:
		return
	default:
	}
	f.failed = err
	f.objectReader.err = err
	f.objectReader.s = f.sess
	close(f.begun)
}

// Info waits for FETCH_OK.
func (f *FetchReader) Info(ctx context.Context) (FetchInfo, error) {
	select {
	case <-f.told:
		return f.info, f.refused
	case <-ctx.Done():
		return FetchInfo{}, context.Cause(ctx)
	}
}

// Next returns the next entry; io.EOF after the last.
func (f *FetchReader) Next() (FetchObject, error) {
	<-f.begun // ends with the session at the latest
	var o wire.FetchObject
	err := f.next(func(b []byte) (n int, err error) {
		o, n, err = wire.ParseFetchObject(b, f.s.v, f.s.cfg.MaxPropertiesSize)
		if errors.Is(err, wire.ErrLimit) {
			f.s.count.limit(limitPropertiesSize)
		}
		return n, err
	})
	if err == nil {
		err = f.accept(&o)
		if err != nil {
			err = f.stop(err)
		}
	}
	if err != nil {
		if errors.Is(err, wire.ErrMalformedTrack) {
			f.Cancel()
		}
		f.finish()
		return FetchObject{}, err
	}
	f.left = o.Length
	out := FetchObject{
		Group: o.Group, Subgroup: o.Subgroup, ID: o.ID, Priority: o.Priority, Datagram: o.Datagram,
		Properties: o.Properties, Size: o.Length,
	}
	switch o.Flags {
	case wire.FetchEndOfNonExistent:
		out.Kind = FetchedNonExistent
	case wire.FetchEndOfUnknown, wire.FetchEndOfTimedOut:
		out.Kind, out.TimedOut = FetchedUnknown, o.Flags == wire.FetchEndOfTimedOut
	}
	if out.Kind == FetchedObject {
		f.s.count.add(cObjects+received, 1)
	}
	if f.s.qlog != nil {
		f.s.qlog.fetchObject(false, f.objectReader.id, out)
	}
	return out, nil
}

func (f *FetchReader) accept(o *wire.FetchObject) error {
	if err := f.state.Resolve(f.s.v, o); err != nil {
		return err
	}
	if o.Length > f.s.cfg.MaxObjectSize {
		f.s.count.limit(limitObjectSize)
		return fmt.Errorf("object of %d bytes: %w", o.Length, wire.ErrLimit)
	}
	if err := wire.CheckKeyValues(o.Properties, wire.PropertyForm); err != nil {
		return violation("object properties: %v", err)
	}
	// §2.4.2: groups in the order asked for, objects of a group in increasing order, else the track is malformed.
	l := Location{Group: o.Group, Object: o.ID}
	if f.some {
		wrong := l.Group < f.last.Group
		if f.descending {
			wrong = l.Group > f.last.Group
		}
		if wrong || l.Group == f.last.Group && l.Object <= f.last.Object {
			f.Cancel()
			return fmt.Errorf("%w: %v after %v in a fetch", ErrOrder, l, f.last)
		}
	}
	f.last, f.some = l, true
	return nil
}

// finish ends the request after the response, once it was answered.
func (f *FetchReader) finish() {
	f.mu.Lock()
	f.read = true
	answered := f.answered
	f.mu.Unlock()
	if answered && f.r != nil {
		f.r.close()
	}
}

// Cancel ends the fetch. Every reader must be read to an error or cancelled.
func (f *FetchReader) Cancel() error {
	f.mu.Lock()
	over := f.over
	f.over = true
	f.mu.Unlock()
	if over {
		return nil
	}
	select {
	case <-f.begun:
		if f.st == nil {
			return nil // refused
		}
		f.cancel(wire.ResetCancelled)
	default:
		f.fail(ErrClosed)
	}
	if f.r == nil {
		return nil
	}
	return f.sess.orCause(f.r.cancel(nil))
}
