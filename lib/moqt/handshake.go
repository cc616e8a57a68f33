package moqt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// Handshake exchanges setup messages (§9.3). Run does it if nobody did before; a client that wants to know early whether
// it was let in calls it first.
func (s *Session) Handshake(ctx context.Context) error {
	s.setup.Lock()
	defer s.setup.Unlock()
	if s.setup.done {
		return s.setup.err
	}
	s.setup.done = true
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.HandshakeTimeout, &SessionError{Code: wire.ControlMessageTimeout, Reason: "no setup message"})
	defer cancel()
	err := s.carrier.handshake(ctx)
	if err != nil {
		if ctx.Err() != nil && s.ctx.Err() == nil {
			err = context.Cause(ctx)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				s.count.limit(limitHandshake)
			}
		}
		if s.ctx.Err() == nil {
			var se *SessionError
			if errors.As(err, &se) && !se.Remote {
				s.Close(se.Code, se.Reason)
			} else {
				s.fail(err)
			}
		}
		s.setup.err = fmt.Errorf("setup: %w", context.Cause(s.ctx))
		return s.setup.err
	}
	close(s.ready)
	return nil
}

// handshakeOnOne exchanges CLIENT_SETUP and SERVER_SETUP on one bidirectional stream (draft-16 §3.3). Streams of data wait for its end.
func (s *Session) handshakeOnOne(ctx context.Context) error {
	var st Stream
	var err error
	if s.client {
		st, err = s.conn.OpenStream(ctx)
	} else {
		st, err = s.conn.AcceptStream(ctx)
	}
	if err != nil {
		return err
	}
	st.SetPriority(urgencyControl, true)
	s.setControl(st, s.client)
	defer boundReads(ctx, st)()
	setup := s.serverSetup
	if s.client {
		setup = s.clientSetup
	}
	if err := setup(ctx); err != nil {
		return err
	}
	s.spawn(func() { s.fail(s.acceptUniStreams()) }) // ends with the session
	return nil
}

// setControl makes st the control stream; mine: this side opened it.
func (s *Session) setControl(st Stream, mine bool) {
	s.control = s.controlStream(st)
	if s.qlog != nil {
		s.qlog.stream(mine, s.control.id, "control")
	}
	s.control.broken = func(err error) {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.count.limit(limitControl)
			s.fail(&wire.Error{Code: wire.ControlMessageTimeout, What: "peer does not read the control stream"})
		}
	}
}

// boundReads makes reads of st fail when ctx ends, until what it returns is called.
func boundReads(ctx context.Context, st ReceiveStream) func() {
	stop := context.AfterFunc(ctx, func() { st.SetReadDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			st.SetReadDeadline(time.Time{})
		}
	}
}

// handshakeOnStreams exchanges SETUP on a pair of unidirectional streams (draft-18 §3.3). Data streams may arrive before the
// peer's; they wait.
func (s *Session) handshakeOnStreams(ctx context.Context) error {
	s.spawn(func() { s.fail(s.acceptUniStreams()) }) // ends with the session
	own := s.ownParameters()
	if s.client {
		own.Tokens = s.cfg.Tokens
		if s.Native() {
			own.Authority, own.Path = &s.target.authority, &s.target.path
		}
	}
	// Neither side needs to wait for the other. A server that decides about its clients does, so that one that was refused
	// learns it here.
	early := s.client || s.cfg.Authorize == nil || s.cfg.Lenient
	if early {
		if err := s.openControl(ctx, own); err != nil {
			return err
		}
	}
	var in objectReader
	select {
	case in = <-s.setupIn:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	defer boundReads(ctx, in.st)()
	reading := s.controlStream(duplex{nil, in.st})
	reading.buf = append(reading.buf, in.buf[in.r:]...)
	if s.qlog != nil {
		reading.in = s.qlog.streamID(in.st)
		s.qlog.stream(false, reading.in, "control")
	}
	m, err := reading.receive()
	if err != nil {
		return err
	}
	setup, ok := m.(*wire.Setup)
	if !ok {
		return violation("%T before SETUP", m)
	}
	p := setup.Parameters
	if s.client {
		if err := refuseTarget(p); err != nil {
			return err
		}
		if err := s.learn(p); err != nil {
			return err
		}
	} else if err := s.admitClient(ctx, p); err != nil {
		return err
	}
	if !early {
		if err := s.openControl(ctx, own); err != nil {
			return err
		}
	}
	s.control.st = duplex{s.control.st, in.st}
	s.control.in, s.control.buf, s.control.r, s.control.fin = reading.in, reading.buf, reading.r, reading.fin
	return nil
}

// openControl opens this side's control stream with SETUP.
func (s *Session) openControl(ctx context.Context, p wire.SetupParameters) error {
	out, err := s.conn.OpenUniStream(ctx)
	if err != nil {
		return err
	}
	out.SetPriority(urgencyControl, true)
	s.setControl(duplex{out, nil}, true)
	return s.control.send(&wire.Setup{Parameters: p})
}

func (s *Session) ownParameters() wire.SetupParameters {
	limit := s.carrier.credits().bound()
	ranges := maxFilterRanges
	p := wire.SetupParameters{MaxRequestID: &limit, MaxFilterRanges: &ranges, Implementation: &s.cfg.Implementation, Grease: wire.Grease(rand.Uint32N(1 << 20))}
	if n := s.cfg.MaxTokenCache; n > 0 {
		size := uint64(n)
		p.MaxAuthTokenCacheSize = &size
	}
	return p
}

func (s *Session) clientSetup(context.Context) error {
	p := s.ownParameters()
	p.Tokens = s.cfg.Tokens
	if s.Native() {
		p.Authority, p.Path = &s.target.authority, &s.target.path
	}
	if err := s.control.send(&wire.ClientSetup{Parameters: p}); err != nil {
		return err
	}
	m, err := s.control.receive()
	if err != nil {
		return err
	}
	setup, ok := m.(*wire.ServerSetup)
	if !ok {
		return violation("%T before SERVER_SETUP", m)
	}
	if err := refuseTarget(setup.Parameters); err != nil {
		return err
	}
	return s.learn(setup.Parameters)
}

// refuseTarget: a server has no PATH and no AUTHORITY.
func refuseTarget(p wire.SetupParameters) error {
	if p.Path != nil {
		return &wire.Error{Code: wire.InvalidPath, What: "PATH from a server"}
	}
	if p.Authority != nil {
		return &wire.Error{Code: wire.InvalidAuthority, What: "AUTHORITY from a server"}
	}
	return nil
}

func (s *Session) serverSetup(ctx context.Context) error {
	m, err := s.control.receive()
	if err != nil {
		return err
	}
	setup, ok := m.(*wire.ClientSetup)
	if !ok {
		return violation("%T before CLIENT_SETUP", m)
	}
	if err := s.admitClient(ctx, setup.Parameters); err != nil {
		return err
	}
	return s.control.send(&wire.ServerSetup{Parameters: s.ownParameters()})
}

// admitClient decides on a client's setup message.
func (s *Session) admitClient(ctx context.Context, p wire.SetupParameters) error {
	if err := checkTarget(p, s.Native()); err != nil {
		return err
	}
	if err := s.learn(p); err != nil {
		return err
	}
	if s.cfg.Authorize != nil {
		if err := s.cfg.Authorize(ctx, s.peer); err != nil {
			var se *SessionError
			if errors.As(err, &se) {
				return se
			}
			return &SessionError{Code: wire.Unauthorized, Reason: err.Error()}
		}
	}
	return nil
}

// checkTarget applies the rules of §9.3.1.1 and §9.3.1.2 to AUTHORITY and PATH.
func checkTarget(p wire.SetupParameters, native bool) error {
	if p.Path != nil {
		if !native {
			return &wire.Error{Code: wire.InvalidPath, What: "PATH over WebTransport"}
		}
		// RFC 3986: path-abempty is empty or begins with a slash; "?" and the query may follow.
		if u := *p.Path; u != "" && u[0] != '/' && u[0] != '?' {
			return &wire.Error{Code: wire.MalformedPath, What: "path " + u}
		}
		if _, err := url.Parse("moqt://host" + *p.Path); err != nil {
			return &wire.Error{Code: wire.MalformedPath, What: err.Error()}
		}
	}
	if p.Authority != nil {
		if !native {
			return &wire.Error{Code: wire.InvalidAuthority, What: "AUTHORITY over WebTransport"}
		}
		if u, err := url.Parse("moqt://" + *p.Authority); err != nil || u.Host != *p.Authority && u.User == nil {
			return &wire.Error{Code: wire.MalformedAuthority, What: "authority " + *p.Authority}
		}
	}
	return nil
}

// learn takes over what the peer's setup message says.
func (s *Session) learn(p wire.SetupParameters) error {
	str := func(v *string) string {
		if v == nil {
			return ""
		}
		return *v
	}
	tokens, err := s.inTokens.resolveSetup(p.Tokens)
	if err != nil {
		return err
	}
	s.peer = PeerInfo{
		Path: str(p.Path), Authority: str(p.Authority), Implementation: str(p.Implementation),
		Tokens: tokens, RemoteAddr: s.conn.RemoteAddr().String(),
	}
	if !s.client && !s.Native() {
		s.peer.Path, s.peer.Authority, s.peer.Bearer = s.target.path, s.target.authority, s.target.bearer // of the request
	}
	if p.MaxRequestUpdates != nil {
		s.peer.MaxRequestUpdates = *p.MaxRequestUpdates
	}
	if p.MaxRequestID != nil {
		s.peer.MaxRequestID = *p.MaxRequestID
		if c := s.carrier.credits(); c != nil {
			c.raise(*p.MaxRequestID)
		}
	}
	return nil
}
