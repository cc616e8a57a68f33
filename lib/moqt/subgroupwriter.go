package moqt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// headBuffer is the most that is written in one go with a header: header and the first bytes of payload, less than a
// packet, so that the transport can take them without waiting. The rest of a large payload goes to it without a copy.
// 256 and 4,096 were slower (BenchmarkOneToOne).
const headBuffer = 1024

// objectWriter is what writers of data streams have in common: header and payload leave together.
type objectWriter struct {
	s       *Session
	st      SendStream
	id      uint64 // for qlog
	scratch []byte
	left    uint64 // of the payload announced
	// discards: that payload goes nowhere, because a filter of the subscriber holds its object back.
	discards bool
	started  bool // the stream's header was written
	reset    atomic.Bool
	err      error // sticky
	// timeout is the delivery timeout (§9.2.2.2): an object that cannot be handed to the transport for so long resets its
	// stream. 0: none.
	timeout time.Duration
	// until is when a whole subgroup must have been handed over; zero: whenever.
	until time.Time
}

// put writes what is in scratch and as much payload as fits with it, then the rest of the payload.
func (w *objectWriter) put(payload []byte) error {
	n := min(len(payload), max(0, headBuffer-len(w.scratch)))
	w.scratch = append(w.scratch, payload[:n]...)
	if err := w.write(w.scratch); err != nil {
		return err
	}
	if cap(w.scratch) > 8*headBuffer {
		w.scratch = nil // a large block of properties
	}
	w.scratch = w.scratch[:0]
	if !w.started {
		w.started = true
		w.st.SetReliableBoundary()
	}
	if n < len(payload) {
		if err := w.write(payload[n:]); err != nil {
			return err
		}
	}
	w.s.count.add(cBytes+sent, uint64(len(payload)))
	return nil
}

func (w *objectWriter) write(b []byte) error {
	if w.err != nil {
		return w.err
	}
	start := time.Now()
	_, err := w.st.Write(b)
	w.s.count.add(cWriteWait, uint64(time.Since(start)))
	if err == nil {
		return nil
	}
	var reset *StreamResetError
	switch {
	case (w.timeout > 0 || !w.until.IsZero()) && errors.Is(err, os.ErrDeadlineExceeded):
		w.st.CancelWrite(wire.ResetDeliveryTimeout)
		w.resetSent(wire.ResetDeliveryTimeout)
		err = &StreamResetError{Code: wire.ResetDeliveryTimeout}
	case errors.As(err, &reset) && reset.Remote:
		w.s.count.stop(received, reset.Code)
		if w.s.qlog != nil {
			w.s.qlog.reset("stop_sending", false, w.id, reset.Code)
		}
	}
	w.err = w.s.orCause(err)
	return w.err
}

// resetSent counts a RESET_STREAM.
func (w *objectWriter) resetSent(code ResetCode) {
	if w.reset.Swap(true) {
		return
	}
	w.s.count.reset(sent, code)
	if w.s.qlog != nil {
		w.s.qlog.reset("stream_reset", true, w.id, code)
	}
}

// openData opens a data stream, counting how long it waits for the peer's credit.
func (s *Session) openData(ctx context.Context) (SendStream, error) {
	start := time.Now()
	st, err := s.conn.OpenUniStream(ctx)
	s.count.add(cStreamWait, uint64(time.Since(start)))
	if err == nil {
		s.count.add(cStreams+sent, 1)
	}
	return st, err
}

// ready checks that a new object may begin.
func (w *objectWriter) ready() error {
	if w.err != nil {
		return w.err
	}
	if w.left > 0 {
		return fmt.Errorf("%w: %d bytes of the object before are missing", ErrOrder, w.left)
	}
	w.deadline()
	return nil
}

// deadline sets that of the timeouts in force, if any.
func (w *objectWriter) deadline() {
	at := w.until
	if w.timeout > 0 {
		if t := time.Now().Add(w.timeout); at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if !at.IsZero() {
		w.st.SetWriteDeadline(at)
	}
}

// Write writes payload of the object begun with WriteObjectHeader.
func (w *objectWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if uint64(len(p)) > w.left {
		return 0, fmt.Errorf("%w: %d bytes for an object that lacks %d", ErrOrder, len(p), w.left)
	}
	if len(p) == 0 {
		return 0, nil
	}
	var err error
	if w.discards {
		w.left -= uint64(len(p))
		return len(p), nil
	}
	if len(w.scratch) > 0 {
		err = w.put(p)
	} else if err = w.write(p); err == nil {
		w.s.count.add(cBytes+sent, uint64(len(p)))
	}
	if err != nil {
		return 0, err
	}
	w.left -= uint64(len(p))
	return len(p), nil
}

// SetWriteDeadline bounds writes; after a write that missed it the stream can only be Reset. With a delivery timeout in
// force every object sets a deadline of its own.
func (w *objectWriter) SetWriteDeadline(t time.Time) error { return w.st.SetWriteDeadline(t) }

// Context ends when the stream was closed or reset, or the subscriber refused it with STOP_SENDING.
func (w *objectWriter) Context() context.Context { return w.st.Context() }

// finish sends FIN after what is still held back, or resets inside an object.
func (w *objectWriter) finish(header []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.left > 0 {
		w.abandon(nil, wire.ResetInternalError)
		return fmt.Errorf("%w: closed with %d bytes of an object missing", ErrOrder, w.left)
	}
	if !w.started {
		w.scratch = append(w.scratch[:0], header...)
		if err := w.put(nil); err != nil {
			return err
		}
	}
	w.err = ErrClosed
	return w.s.orCause(w.st.Close())
}

// abandon resets the stream; a header not written yet goes out first, so that the peer can account for the stream.
func (w *objectWriter) abandon(header []byte, code ResetCode) {
	if w.err == nil && !w.started && len(header) > 0 {
		w.st.SetWriteDeadline(time.Now().Add(time.Second))
		w.scratch = append(w.scratch[:0], header...)
		w.put(nil)
	}
	if w.err == nil {
		w.err = &StreamResetError{Code: code}
		w.resetSent(code)
	}
	w.st.CancelWrite(code)
}

// SubgroupWriter writes the objects of one subgroup stream. Writes block while the subscriber gives no credit, until the
// deadline: what to do with a slow subscriber (wait, or Reset and tell how much was lost) is the caller's choice.
// It is not for concurrent use.
type SubgroupWriter struct {
	objectWriter
	p           *Publication
	header      wire.SubgroupHeader
	priority    uint8
	prev        uint64
	some        bool // an object was written
	firstObject bool // the caller says so
	own         wire.SubgroupTimeouts
	published   time.Time // see Published
}

// WriteObject writes an object, header and payload in one go. Object ids must increase. Properties are key-value-pairs and
// need HasProperties in the header. A status other than normal has neither properties nor payload.
func (w *SubgroupWriter) WriteObject(id uint64, properties []byte, status ObjectStatus, payload []byte) error {
	if status != wire.StatusNormal && (len(payload) > 0 || len(properties) > 0) {
		return fmt.Errorf("%w: status %v with payload or properties", wire.ErrValue, status)
	}
	if passes, err := w.begin(id, properties, status, uint64(len(payload))); err != nil || !passes {
		return err
	}
	return w.put(payload)
}

// WriteObjectHeader begins an object of size bytes whose payload follows in Write calls; the header leaves with the first.
func (w *SubgroupWriter) WriteObjectHeader(id uint64, properties []byte, size uint64) error {
	passes, err := w.begin(id, properties, wire.StatusNormal, size)
	if err != nil {
		return err
	}
	w.left, w.discards = size, !passes
	if !passes {
		return nil
	}
	if size == 0 {
		return w.put(nil)
	}
	return nil
}

// begin puts the object's header into scratch, if the object passes the subscriber's filters.
func (w *SubgroupWriter) begin(id uint64, properties []byte, status ObjectStatus, size uint64) (passes bool, err error) {
	if len(properties) > 0 && !w.some && (id == 0 || w.firstObject) {
		w.limit(properties)
	}
	if err := w.ready(); err != nil {
		return false, err
	}
	if w.some && id <= w.prev {
		return false, fmt.Errorf("%w: object %d after %d", ErrOrder, id, w.prev)
	}
	if len(properties) > 0 && !w.header.HasProperties {
		return false, fmt.Errorf("%w: properties in a subgroup without", wire.ErrValue)
	}
	if id > wire.MaxVarint || size > wire.MaxVarint {
		return false, fmt.Errorf("object %d of %d bytes: %w", id, size, wire.ErrValue)
	}
	at := Location{Group: w.header.Group, Object: id}
	if f := w.p.sieve.Load(); f != nil {
		subgroup := w.header.Subgroup
		if w.header.FromFirst && !w.some {
			subgroup = id
		}
		if !f.passes(at, wire.Ranged{Subgroup: &subgroup, ID: id, Priority: w.priority, Properties: properties}) {
			if !w.some { // another object may be the first on the stream
				w.firstObject, w.header.FromFirst, w.header.Subgroup = false, false, subgroup
			}
			w.p.sent(at)
			return false, nil
		}
	}
	w.scratch = w.scratch[:0]
	if !w.started {
		w.header.FirstObject = id == 0 || w.firstObject // there is none before object 0
		w.scratch = w.header.Append(w.scratch, w.s.v)
		if w.s.qlog != nil {
			w.s.qlog.subgroupHeader(true, w.id, w.header)
		}
	}
	var prev *uint64
	if w.some {
		prev = &w.prev
	}
	o := wire.SubgroupObject{ID: id, Properties: properties, Length: size, Status: status}
	w.scratch = wire.AppendSubgroupObject(w.scratch, w.s.v, prev, w.header.HasProperties, o)
	w.s.count.add(cObjects+sent, 1)
	if w.s.qlog != nil {
		w.s.qlog.subgroupObject(true, w.id, prev, o)
	}
	w.prev, w.some = id, true
	w.p.sent(at)
	return true, nil
}

// Published says that since t all objects of the subgroup have been published, whether they were written or not yet: what
// cannot be handed to the transport until SUBGROUP_DELIVERY_TIMEOUT after t resets the stream (draft-18 §8). What the
// transport took is out of reach, because it does not tell what was acknowledged.
func (w *SubgroupWriter) Published(t time.Time) {
	w.published = t
	if d := w.p.timeouts(w.own).subgroup; d > 0 && w.err == nil {
		w.until = t.Add(d)
		w.deadline()
	}
}

// limit takes the timeouts that the first object has for the subgroup.
func (w *SubgroupWriter) limit(properties []byte) {
	if w.own = w.p.s.ways.ownTimeouts(properties); w.own == (wire.SubgroupTimeouts{}) {
		return
	}
	w.timeout, w.until = w.p.timeouts(w.own).object, time.Time{}
	if !w.published.IsZero() {
		w.Published(w.published)
	}
}

// Timeout is how long an object of the subgroup may wait at this moment before it is handed to the transport; 0: for ever.
func (w *SubgroupWriter) Timeout() time.Duration { return w.p.timeouts(w.own).object }

// sent keeps the largest location sent.
func (p *Publication) sent(l Location) {
	p.mu.Lock()
	if !p.some || p.largest.Less(l) {
		p.largest, p.some = l, true
	}
	p.mu.Unlock()
}

// Close sends FIN: the subgroup is whole. Inside an object it resets instead and returns ErrOrder.
func (w *SubgroupWriter) Close() error {
	defer w.p.forget(w)
	return w.finish(w.header.Append(nil, w.s.v))
}

// Reset abandons the stream; the header still arrives where the transport can, so that the subscriber can account for it.
func (w *SubgroupWriter) Reset(code ResetCode) {
	defer w.p.forget(w)
	w.abandon(w.header.Append(nil, w.s.v), code)
}

// Datagram is an object sent as a datagram (§10.3).
type Datagram struct {
	Group      uint64
	ID         uint64
	Priority   *uint8 // nil: the track's default
	Properties []byte
	Status     ObjectStatus
	EndOfGroup bool
	Payload    []byte
}

// ResetDelivered abandons the stream like Reset, but what was written before is delivered first where the transport can
// do that, which raw QUIC cannot at present (lib/moqt/transport/quic.go).
func (w *SubgroupWriter) ResetDelivered(code ResetCode) {
	if w.started {
		w.st.SetReliableBoundary()
	}
	w.Reset(code)
}
