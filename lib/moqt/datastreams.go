package moqt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// byAlias finds the subscription of a stream, waiting a bounded time for the message that introduces it
// (§10.4.2). nil without error: the stream is not wanted.
func (s *Session) byAlias(alias, group uint64) (*Subscription, error) {
	var timeout <-chan time.Time
	for {
		sub, changed := s.aliases.get(alias, group)
		if sub != nil || changed == nil {
			return sub, nil
		}
		if timeout == nil {
			if !s.aliases.hold(s.cfg.MaxPendingStreams) {
				s.count.limit(limitPendingStreams)
				s.log.Debug("too many streams with an unknown track alias", "alias", alias)
				return nil, nil
			}
			defer s.aliases.release()
			timer := time.NewTimer(s.cfg.AliasTimeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
			s.count.limit(limitAlias)
			s.log.Debug("track alias still unknown", "alias", alias)
			return nil, nil
		case <-s.ctx.Done():
			return nil, context.Cause(s.ctx)
		}
	}
}

// acceptUniStreams takes data streams. Each is looked at in a goroutine of its own until its header is known. Every
// stream holds a slot until it was read to its end or cancelled, because the transport's credit alone does not bound
// them: it returns as soon as a short stream lies whole in a reader's buffer.
func (s *Session) acceptUniStreams() error {
	for {
		if err := s.take(s.slots, limitStreams); err != nil {
			return err
		}
		st, err := s.conn.AcceptUniStream(s.ctx)
		if err != nil {
			return err
		}
		s.spawn(func() {
			if err := s.takeStream(st); err != nil {
				s.fail(err)
			}
		})
	}
}

// take waits for a place among those of a limit, counting when there was none.
func (s *Session) take(places chan struct{}, l limit) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
	}
	s.count.limit(l)
	select {
	case places <- struct{}{}:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// slot is the place of one incoming data stream among Config.MaxStreams.
type slot struct {
	s    *Session
	free atomic.Bool
}

// release gives the place back, once; then it returns true.
func (p *slot) release() bool {
	if p == nil || p.free.Swap(true) {
		return false
	}
	<-p.s.slots
	return true
}

// streamBuffer is how much a data stream reads ahead of its consumer: enough for headers, so that payloads
// go from the transport's buffer to the caller's.
const streamBuffer = 512

// takeStream reads the header of a data stream and hands it to its subscription or fetch.
func (s *Session) takeStream(st ReceiveStream) error {
	st.SetReadDeadline(time.Now().Add(s.cfg.HeaderTimeout))
	r := objectReader{s: s, st: st, slot: &slot{s: s}, buf: make([]byte, 0, streamBuffer)}
	var typ uint64
	isSetup := func() bool { return wire.IsSetup(typ, s.v) }
	if err := r.header(func(b []byte) (n int, err error) {
		typ, n = wire.Varint(b, s.v)
		if n == 0 {
			return 0, wire.ErrIncomplete
		}
		if isSetup() || wire.IsPadding(typ, s.v) {
			return 0, nil
		}
		if typ != wire.StreamFetch && !wire.IsSubgroup(typ, s.v) {
			return 0, violation("stream type %#x", typ)
		}
		return 0, nil
	}); err != nil {
		return r.refuse(err)
	}
	if isSetup() {
		st.SetReadDeadline(time.Time{})
		r.slot.release()
		select {
		case s.setupIn <- r:
		default:
			return violation("second control stream")
		}
		return nil
	}
	if wire.IsPadding(typ, s.v) {
		r.cancel(wire.ResetCancelled)
		return nil
	}
	if err := s.waitReady(s.ctx); err != nil { // draft 18 lets data overtake SETUP
		return nil
	}
	s.count.add(cStreams+received, 1)
	if s.qlog != nil {
		r.id = s.qlog.streamID(st)
	}
	if typ == wire.StreamFetch {
		var id uint64
		if err := r.header(func(b []byte) (n int, err error) {
			id, n, err = wire.ParseFetchHeader(b, s.v)
			return n, err
		}); err != nil {
			return r.refuse(err)
		}
		st.SetReadDeadline(time.Time{})
		if s.qlog != nil {
			s.qlog.fetchHeader(false, r.id, id)
		}
		return s.takeFetchStream(id, r)
	}
	var h wire.SubgroupHeader
	if err := r.header(func(b []byte) (n int, err error) {
		h, n, err = wire.ParseSubgroupHeader(b, s.v)
		return n, err
	}); err != nil {
		return r.refuse(err)
	}
	st.SetReadDeadline(time.Time{})
	if s.qlog != nil {
		s.qlog.subgroupHeader(false, r.id, h)
	}
	sub, err := s.byAlias(h.TrackAlias, h.Group)
	if sub == nil {
		r.cancel(wire.ResetCancelled)
		return err
	}
	sub.deliver(&SubgroupReader{objectReader: r, sub: sub, alias: h.TrackAlias, h: SubgroupHeader{
		Group: h.Group, Subgroup: h.Subgroup, SubgroupFromFirst: h.FromFirst, Priority: h.Priority,
		EndOfGroup: h.EndOfGroup, HasProperties: h.HasProperties, FirstObject: h.FirstObject,
	}})
	return nil
}

// refuse ends a stream whose header did not come. Only a broken header is the session's business.
func (r *objectReader) refuse(err error) error {
	r.cancel(wire.ResetCancelled)
	var we *wire.Error
	if errors.As(err, &we) {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.s.count.limit(limitHeader)
	}
	return nil
}

// objectReader is what readers of data streams have in common: a small buffer for headers, and the rest of a payload.
type objectReader struct {
	s    *Session
	st   ReceiveStream
	slot *slot
	id   uint64 // for qlog
	buf  []byte // unread bytes are buf[r:]
	r    int
	left uint64 // of the current payload
	err  error  // sticky
}

// cancel refuses the rest of the stream; it may be called at any time.
func (r *objectReader) cancel(code ResetCode) {
	r.st.CancelRead(code)
	if r.slot.release() {
		r.stopped(code)
	}
}

// stopped counts a STOP_SENDING.
func (r *objectReader) stopped(code ResetCode) {
	r.s.count.stop(sent, code)
	if r.s.qlog != nil {
		r.s.qlog.reset("stop_sending", true, r.id, code)
	}
}

// header calls parse on what is buffered, reading more while it says ErrIncomplete, and consumes what it returns.
func (r *objectReader) header(parse func(b []byte) (int, error)) error {
	for {
		n, err := parse(r.buf[r.r:])
		if err == nil {
			r.r += n
			return nil
		}
		if !errors.Is(err, wire.ErrIncomplete) {
			return err
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return violation("stream ended inside its header")
			}
			return err
		}
	}
}

// fill reads at least one more byte into the buffer.
func (r *objectReader) fill() error {
	if r.r == len(r.buf) {
		r.buf, r.r = r.buf[:0], 0
	}
	if len(r.buf) == cap(r.buf) {
		if r.r > 0 {
			r.buf = append(r.buf[:0], r.buf[r.r:]...)
			r.r = 0
		} else {
			r.buf = append(make([]byte, 0, 2*cap(r.buf)), r.buf...)
		}
	}
	n, err := r.st.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Read reads the payload of the current object as it arrives; io.EOF is its end. A stream that ends inside an
// object breaks the protocol and closes the session.
func (r *objectReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.err != nil {
		return 0, r.err
	}
	if uint64(len(p)) > r.left {
		p = p[:r.left]
	}
	if r.r < len(r.buf) {
		n := copy(p, r.buf[r.r:])
		r.r += n
		r.left -= uint64(n)
		r.s.count.add(cBytes+received, uint64(n))
		return n, nil
	}
	n, err := r.st.Read(p)
	r.left -= uint64(n)
	r.s.count.add(cBytes+received, uint64(n))
	if err != nil && r.left > 0 {
		return n, r.broke(err)
	}
	return n, nil
}

// broke ends reading because of an error in the middle of something.
func (r *objectReader) broke(err error) error {
	if errors.Is(err, io.EOF) {
		err = violation("stream ended inside an object") // §10.4
	}
	return r.stop(err)
}

// stop makes err sticky. What the peer got wrong closes the session; what is only too large refuses the stream.
func (r *objectReader) stop(err error) error {
	var we *wire.Error
	var reset *StreamResetError
	switch {
	case err == io.EOF:
	case errors.As(err, &we):
		r.s.fail(err)
		err = r.s.orCause(err)
	case errors.Is(err, wire.ErrLimit):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
		r.st.CancelRead(wire.ResetCancelled)
		r.stopped(wire.ResetCancelled)
	case errors.Is(err, wire.ErrMalformedTrack):
		r.st.CancelRead(wire.ResetMalformedTrack)
		r.stopped(wire.ResetMalformedTrack)
	case errors.As(err, &reset) && reset.Remote:
		r.s.count.reset(received, reset.Code)
		if r.s.qlog != nil {
			r.s.qlog.reset("stream_reset", false, r.id, reset.Code)
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err // the caller may set another deadline and go on
	}
	r.slot.release()
	r.err = err
	return err
}

// skip reads over what is left of a payload.
func (r *objectReader) skip() error {
	if r.left == 0 {
		return nil
	}
	if n := uint64(len(r.buf) - r.r); n > 0 {
		n = min(n, r.left)
		r.r += int(n)
		r.left -= n
		r.s.count.add(cBytes+received, n)
	}
	var scratch [4096]byte
	for r.left > 0 {
		if _, err := r.Read(scratch[:]); err != nil {
			return err
		}
	}
	return nil
}

// next reads the next object header with parse, which returns n = 0 if it needs more bytes. io.EOF: a regular end.
func (r *objectReader) next(parse func(b []byte) (n int, err error)) error {
	if r.err != nil {
		return r.err
	}
	if err := r.skip(); err != nil {
		return err
	}
	for {
		n, err := parse(r.buf[r.r:])
		if err != nil {
			return r.stop(err)
		}
		if n > 0 {
			r.r += n
			return nil
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && r.r == len(r.buf) {
				return r.stop(io.EOF)
			}
			return r.broke(err)
		}
	}
}

// SetReadDeadline bounds Next and Read.
func (r *objectReader) SetReadDeadline(t time.Time) error { return r.st.SetReadDeadline(t) }

// acceptStreams takes the peer's bidirectional streams, each of a request, but no more than requests may be open.
func (s *Session) acceptStreams() error {
	for {
		if err := s.take(s.open, limitRequests); err != nil {
			return err
		}
		st, err := s.conn.AcceptStream(s.ctx)
		if err != nil {
			return err
		}
		s.spawn(func() {
			defer func() { <-s.open }()
			if err := s.carrier.accept(st); err != nil {
				s.fail(err)
			}
		})
	}
}

// receiveDatagrams hands datagrams to subscriptions. One with an unknown alias is dropped, as §10.3 allows.
func (s *Session) receiveDatagrams() error {
	for {
		b, err := s.conn.ReceiveDatagram(s.ctx)
		if err != nil {
			return err
		}
		if wire.IsPaddingDatagram(b, s.v) {
			continue
		}
		d, err := wire.ParseDatagram(b, s.v)
		if errors.Is(err, wire.ErrLimit) {
			s.count.add(cDatagramsDropped, 1)
			s.log.Debug("datagram dropped", "err", err)
			continue
		}
		if errors.Is(err, wire.ErrMalformedTrack) {
			s.count.add(cDatagramsDropped, 1)
			if sub, _ := s.aliases.get(d.TrackAlias, d.Group); sub != nil {
				sub.malformed(err)
			}
			continue
		}
		if err != nil {
			return err
		}
		sub, _ := s.aliases.get(d.TrackAlias, d.Group)
		s.count.add(cDatagrams+received, 1)
		if s.qlog != nil {
			s.qlog.datagram(false, d)
		}
		if sub == nil {
			s.count.add(cDatagramsDropped, 1)
		} else {
			sub.deliverDatagram(Datagram{
				Group: d.Group, ID: d.ID, Priority: d.Priority, Properties: d.Properties, Status: d.Status,
				EndOfGroup: d.EndOfGroup, Payload: d.Payload,
			})
		}
	}
}
