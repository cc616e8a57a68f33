package moqt

import (
	"context"
	"fmt"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// FetchRequest is a peer's FETCH.
type FetchRequest struct {
	Track      object.TrackName
	Start      Location
	End        Location // exclusive; Object 0: the whole group End.Group
	Priority   uint8
	GroupOrder GroupOrder
	Tokens     []Token
	// FillTimeout is how long the peer lets a relay wait in all for objects that it has to get itself; nil: it did not say.
	FillTimeout *time.Duration
	// Joining is the publication a joining fetch refers to, nil for a standalone fetch; Start and End are resolved.
	Joining *Publication

	by responder
	// bare: the answer is to have no track properties.
	bare  bool
	sieve *sieve
}

// responder is how a FetchRequest is answered: as a request, or as a fill of a subscription.
type responder interface {
	session() *Session
	number() uint64                    // in FETCH_HEADER
	context() context.Context          // ends when the response is not wanted any more
	accept(info FetchInfo) error       // says that the response follows
	opened()                           // its stream was opened
	refuse(m *wire.RequestError) error // says that there is none
	close()                            // the response is over
	goAway(uri string, patience time.Duration) error
}

// fetchResponder answers a FETCH.
type fetchResponder struct{ *request }

func (in fetchResponder) context() context.Context { return in.ctx }
func (in fetchResponder) opened()                  {}
func (in fetchResponder) accept(info FetchInfo) error {
	return in.answer(&wire.FetchOK{RequestID: in.id, EndOfTrack: info.EndOfTrack, End: info.End, Properties: info.Properties})
}

func (in *request) beginFetch(m *wire.Fetch) error {
	s := in.s
	if m.Joins() {
		if err := s.ways.mayJoin(s, m.JoiningRequestID); err != nil {
			return err
		}
	}
	tokens, ok, err := in.admit(m.Track, m.Parameters)
	if !ok {
		return err
	}
	r := &FetchRequest{
		Track: m.Track, Start: m.Start, End: m.End, Priority: DefaultPriority, GroupOrder: wire.GroupOrderAscending, Tokens: tokens,
		by: fetchResponder{in}, bare: told([]byte{0}, m.Parameters) == nil,
	}
	if p := m.Parameters.SubscriberPriority; p != nil {
		r.Priority = *p
	}
	r.GroupOrder = or(m.Parameters.GroupOrder, r.GroupOrder)
	if ms := m.Parameters.FillTimeout; ms != nil {
		d := duration(*ms)
		r.FillTimeout = &d
	}
	in.handle(func(ctx context.Context) {
		if refusal := r.resolve(ctx, in, m); refusal != nil {
			r.Reject(refusal.Code, refusal.Reason)
			return
		}
		r.serve(ctx, s)
	})
	return nil
}

// serve lets the handler answer. The order of groups means nothing where there is one, and not every handler knows both.
func (r *FetchRequest) serve(ctx context.Context, s *Session) {
	if r.Start.Group == r.End.Group {
		r.GroupOrder = wire.GroupOrderAscending
	}
	s.cfg.Handler.Fetch(ctx, r)
}

// resolve finds the range of a fetch that does not say it.
func (r *FetchRequest) resolve(ctx context.Context, in *request, m *wire.Fetch) *RequestError {
	ranges, refusal := in.s.readFilters(m.Parameters.RangeFilters)
	if refusal != nil {
		return refusal
	}
	r.sieve = newSieve(ranges, openEnd)
	switch {
	case m.Joins():
		return r.join(ctx, in, m)
	case m.FetchType == wire.FetchRelative:
		return r.relate(ctx, in.s, m.Groups)
	case m.End.Less(m.Start) && !(m.End.Group == m.Start.Group && m.End.Object == 0):
		return &RequestError{Code: wire.RequestInvalidRange, Reason: "ends before its start"}
	}
	return nil
}

// Accept answers FETCH_OK and returns the writer of the objects.
func (r *FetchRequest) Accept(info FetchInfo) (*FetchWriter, error) {
	if r.bare {
		info.Properties = nil
	}
	if err := r.by.accept(info); err != nil {
		return nil, err
	}
	return r.open()
}

// open opens the stream of the response.
func (r *FetchRequest) open() (*FetchWriter, error) {
	s, ctx := r.by.session(), r.by.context()
	st, err := s.openData(ctx)
	if err != nil {
		r.by.close()
		return nil, s.orCause(err)
	}
	r.by.opened()
	st.SetPriority(urgency(r.Priority, DefaultPriority), true)
	w := &FetchWriter{by: r.by, sieve: r.sieve}
	w.state.Descending = r.GroupOrder == wire.GroupOrderDescending
	w.objectWriter.s, w.objectWriter.st = s, st
	w.header = wire.AppendFetchHeader(nil, s.v, r.by.number())
	if q := w.s.qlog; q != nil {
		w.id = q.streamID(st)
		q.fetchHeader(true, w.id, r.by.number())
	}
	// FETCH_CANCEL resets the stream whatever the handler does (§5.2).
	w.unwatch = context.AfterFunc(ctx, func() { st.CancelWrite(wire.ResetCancelled) })
	return w, nil
}

// Reject answers REQUEST_ERROR.
func (r *FetchRequest) Reject(code RequestCode, reason string) error {
	return r.by.refuse(&wire.RequestError{RequestID: r.by.number(), Code: code, Reason: reason})
}

// FetchWriter writes the response to a fetch; it is not for concurrent use. It must be closed or reset.
type FetchWriter struct {
	objectWriter
	by      responder
	sieve   *sieve
	header  []byte
	state   wire.FetchState
	unwatch func() bool
	once    sync.Once
}

// Context ends when the subscriber cancelled or the response is over.
func (w *FetchWriter) Context() context.Context { return w.by.context() }

// WriteObject writes an entry; o.Size is taken from payload.
func (w *FetchWriter) WriteObject(o FetchObject, payload []byte) error {
	o.Size = uint64(len(payload))
	if err := w.begin(o); err != nil || w.discards {
		return err
	}
	return w.put(payload)
}

// WriteObjectHeader begins an object of o.Size bytes, which follow in Write calls; the header leaves with the first.
func (w *FetchWriter) WriteObjectHeader(o FetchObject) error {
	if err := w.begin(o); err != nil {
		return err
	}
	w.left = o.Size
	if w.discards {
		return nil
	}
	if o.Size == 0 {
		return w.put(nil)
	}
	return nil
}

func (w *FetchWriter) begin(o FetchObject) error {
	if err := w.ready(); err != nil {
		return err
	}
	if o.Kind != FetchedObject && o.Size > 0 {
		return fmt.Errorf("end of range with a payload: %w", wire.ErrValue)
	}
	if max(o.Group, o.ID, o.Subgroup, o.Size) > wire.MaxVarint {
		return fmt.Errorf("object %d/%d of %d bytes: %w", o.Group, o.ID, o.Size, wire.ErrValue)
	}
	m := wire.FetchObject{
		Group: o.Group, Subgroup: o.Subgroup, ID: o.ID, Priority: o.Priority, Datagram: o.Datagram, Properties: o.Properties, Length: o.Size,
	}
	switch o.Kind {
	case FetchedNonExistent:
		m.Flags = wire.FetchEndOfNonExistent
	case FetchedUnknown:
		m.Flags = wire.FetchEndOfUnknown
		if o.TimedOut {
			m.Flags = wire.FetchEndOfTimedOut // as the draft has it
		}
	}
	if w.discards = w.sieve != nil && o.Kind == FetchedObject && !w.sieve.passesFetched(o); w.discards {
		return nil
	}
	w.scratch = w.scratch[:0]
	if !w.started {
		w.scratch = append(w.scratch, w.header...)
	}
	b, err := w.state.Append(w.scratch, w.s.v, m)
	if err != nil {
		return err
	}
	w.scratch = b
	if o.Kind == FetchedObject {
		w.s.count.add(cObjects+sent, 1)
	}
	if w.s.qlog != nil {
		w.s.qlog.fetchObject(true, w.id, o)
	}
	return nil
}

// begins sends the header of the stream alone.
func (w *FetchWriter) begins() error {
	w.st.SetWriteDeadline(time.Now().Add(time.Second))
	w.scratch = append(w.scratch[:0], w.header...)
	return w.put(nil)
}

// Close sends FIN: the response is whole.
func (w *FetchWriter) Close() error {
	err := w.finish(w.header)
	w.done()
	return err
}

// Reset abandons the response.
func (w *FetchWriter) Reset(code ResetCode) {
	w.abandon(w.header, code)
	w.done()
}

func (w *FetchWriter) done() {
	w.once.Do(func() {
		w.unwatch()
		w.by.close()
	})
}
