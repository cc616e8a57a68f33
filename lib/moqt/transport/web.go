package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"every.channel/ec/lib/moqt/wire"
)

// alpnHTTP3 is the protocol below WebTransport.
const alpnHTTP3 = http3.NextProtoH3

// First bytes of WebTransport streams, followed by the session id (draft-ietf-webtrans-http3 §4.2, §4.3).
const (
	webUniStream  = 0x54
	webBidiStream = 0x41
)

// webFirstWrite is how many of the caller's bytes leave in one write with the first ones of a stream: less than a packet, so that QUIC
// takes them without waiting.
const webFirstWrite = 1024

// closeGrace is how long the side that closes a session waits for the other to close the connection: the code and
// reason travel on a stream, which a closed connection would cut off.
const closeGrace = 250 * time.Millisecond

// webConn is a Conn over WebTransport, the only session of its HTTP/3 connection. Streams the peer opens and datagrams
// come from webtransport-go. Streams of this side are opened on the QUIC connection itself: webtransport-go hides their
// priority, and makes their first bytes a reliable boundary, whose reset breaks flow control (see
// quicSendStream.SetReliableBoundary). Without one a peer may see a stream reset before it knows its session, which
// RFC 9114 §6.2 has it tolerate.
type webConn struct {
	qc     *quic.Conn
	sess   *webtransport.Session
	id     uint64 // of the session: the stream of its CONNECT request
	info   Info
	ctx    context.Context
	cancel context.CancelCauseFunc
	closed chan struct{} // the QUIC connection is closed
}

// newWebConn wraps a session; sess must be the connection's only one. info has the rest of what is known of it.
func newWebConn(qc *quic.Conn, sess *webtransport.Session, id quic.StreamID, o *Options, info Info) (*webConn, error) {
	info.Protocol, info.Network = sess.SessionState().ApplicationProtocol, "webtransport"
	c := &webConn{qc: qc, sess: sess, id: uint64(id), info: info, closed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	context.AfterFunc(sess.Context(), c.end)
	// Without a protocol in common the session is open nevertheless, with none (draft-ietf-webtrans-http3 §3.3).
	if !slices.Contains(o.Protocols, info.Protocol) {
		err := &SessionError{Code: wire.VersionNegotiationFailed, Reason: fmt.Sprintf("WebTransport protocol %q", info.Protocol)}
		c.CloseWithError(err.Code, err.Reason)
		return nil, err
	}
	return c, nil
}

// end closes the QUIC connection after its session has ended.
func (c *webConn) end() {
	defer close(c.closed)
	_, err := c.sess.OpenUniStream() // which says why the session ended
	alive := c.qc.Context().Err() == nil
	if why, ok := errors.AsType[*webtransport.SessionError](err); ok {
		c.cancel(webSessionError(why))
		if !why.Remote {
			select {
			case <-c.qc.Context().Done():
			case <-time.After(closeGrace):
			}
		}
	}
	c.qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	<-c.qc.Context().Done()
	cause := context.Cause(c.qc.Context())
	if app, ok := errors.AsType[*quic.ApplicationError](cause); ok && !app.Remote && alive {
		// The connection lived until now; only the CONNECT stream broke.
		cause = &SessionError{Code: wire.InternalError, Reason: err.Error(), Remote: true}
	}
	c.cancel(webConnError(cause)) // no effect if the session was closed properly
}

// over waits for the reason why the session ended; err, which came from a part of the session, does not tell it.
func (c *webConn) over(ctx context.Context, err error) error {
	select {
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case <-ctx.Done():
		return err
	}
}

func webSessionError(e *webtransport.SessionError) *SessionError {
	return &SessionError{Code: wire.SessionCode(e.ErrorCode), Reason: e.Message, Remote: e.Remote}
}

// webConnError translates the end of a connection, whose codes are those of HTTP/3.
func webConnError(err error) error {
	if why, ok := errors.AsType[*webtransport.SessionError](err); ok {
		return webSessionError(why)
	}
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok {
		se := &SessionError{Code: wire.NoError, Remote: app.Remote}
		if code := http3.ErrCode(app.ErrorCode); code != http3.ErrCodeNoError && code != 0 { // 0: http3.Server.Close
			se.Code, se.Reason = wire.InternalError, fmt.Sprintf("%v %s", code, app.ErrorMessage)
		}
		return se
	}
	return err
}

// Error codes of streams share the space of HTTP/3's and leave out its reserved ones (draft-ietf-webtrans-http3 §4.4).
const (
	firstWebCode = 0x52e4a40fa8db
	lastWebCode  = 0x52e5ac983162
)

func toWebCode(c wire.ResetCode) quic.StreamErrorCode {
	n := quic.StreamErrorCode(uint32(c))
	return firstWebCode + n + n/0x1e
}

func fromWebCode(h quic.StreamErrorCode) (c wire.ResetCode, ok bool) {
	if h < firstWebCode || h > lastWebCode || (h-0x21)%0x1f == 0 {
		return wire.ResetInternalError, false
	}
	n := h - firstWebCode
	return wire.ResetCode(n - n/0x1f), true
}

// streamError translates errors of streams, those of webtransport-go too.
func (c *webConn) streamError(err error) error {
	if err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if e, ok := errors.AsType[*webtransport.StreamError](err); ok {
		return &StreamResetError{Code: wire.ResetCode(e.ErrorCode), Remote: e.Remote}
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		if e.ErrorCode == webtransport.WTSessionGoneErrorCode {
			select {
			case <-c.ctx.Done():
				return context.Cause(c.ctx)
			case <-time.After(closeGrace): // the session did not end: only the peer says so
			}
		}
		code, _ := fromWebCode(e.ErrorCode) // the codes of HTTP/3 itself say nothing here
		return &StreamResetError{Code: code, Remote: e.Remote}
	}
	return webConnError(err)
}

func (c *webConn) Info() Info               { return c.info }
func (c *webConn) Context() context.Context { return c.ctx }
func (c *webConn) LocalAddr() net.Addr      { return c.qc.LocalAddr() }
func (c *webConn) RemoteAddr() net.Addr     { return c.qc.RemoteAddr() }

// CloseWithError returns when the peer has closed the connection in answer, or did not for a while.
func (c *webConn) CloseWithError(code wire.SessionCode, reason string) error {
	err := c.sess.CloseWithError(webtransport.SessionErrorCode(code), reason)
	<-c.closed
	return err
}

// open makes a stream of this side, with the bytes with which a WebTransport stream begins.
func (c *webConn) open(st sendStream, typ uint64) *webSendStream {
	s := &webSendStream{quicSendStream: quicSendStream{st}, c: c}
	s.head = quicvarint.Append(quicvarint.Append(make([]byte, 0, 10), typ), c.id)
	s.stop = context.AfterFunc(c.ctx, func() { st.CancelWrite(webtransport.WTSessionGoneErrorCode) })
	return s
}

func (c *webConn) OpenStream(ctx context.Context) (Stream, error) {
	st, err := c.qc.OpenStreamSync(ctx)
	if err != nil {
		return nil, webConnError(err)
	}
	return webStream{c.open(st, webBidiStream), webReceiveStream{c, st}}, nil
}

func (c *webConn) OpenUniStream(ctx context.Context) (SendStream, error) {
	st, err := c.qc.OpenUniStreamSync(ctx)
	if err != nil {
		return nil, webConnError(err)
	}
	return c.open(st, webUniStream), nil
}

func (c *webConn) AcceptStream(ctx context.Context) (Stream, error) {
	st, err := c.sess.AcceptStream(ctx)
	if err != nil {
		return nil, c.over(ctx, err)
	}
	return acceptedStream{acceptedReceiveStream{c, st}, st}, nil
}

func (c *webConn) AcceptUniStream(ctx context.Context) (ReceiveStream, error) {
	st, err := c.sess.AcceptUniStream(ctx)
	if err != nil {
		return nil, c.over(ctx, err)
	}
	return acceptedReceiveStream{c, st}, nil
}

func (c *webConn) SendDatagram(b []byte) error {
	err := c.sess.SendDatagram(b)
	if _, big := errors.AsType[*quic.DatagramTooLargeError](err); big {
		return nil // §10.3: dropped without notice
	}
	return webConnError(err)
}

func (c *webConn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	b, err := c.sess.ReceiveDatagram(ctx)
	if err != nil {
		return nil, c.over(ctx, err)
	}
	return b, nil
}

// webSendStream is the sending half of a stream this side opened.
type webSendStream struct {
	quicSendStream
	c    *webConn
	head []byte // not written yet; leaves with the first bytes
	stop func() bool
}

func (s *webSendStream) Write(p []byte) (int, error) {
	if len(s.head) == 0 {
		return s.written(s.st.Write(p))
	}
	h := len(s.head)
	n, err := s.st.Write(append(s.head[:h:h], p[:min(len(p), webFirstWrite)]...))
	if n < h {
		s.head = s.head[n:]
		return s.written(0, err)
	}
	s.head = nil
	if n -= h; err != nil || n == len(p) {
		return s.written(n, err)
	}
	m, err := s.st.Write(p[n:])
	return s.written(n+m, err)
}

// written translates the result of a write; a stream that failed needs no end with the session.
func (s *webSendStream) written(n int, err error) (int, error) {
	if err = s.c.streamError(err); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.stop()
	}
	return n, err
}

func (s *webSendStream) Close() error {
	if len(s.head) > 0 {
		if _, err := s.Write(nil); err != nil {
			return err
		}
	}
	s.stop()
	return s.c.streamError(s.closed())
}

func (s *webSendStream) CancelWrite(code wire.ResetCode) {
	s.stop()
	s.st.CancelWrite(toWebCode(code))
}

// webReceiveStream is the receiving half of a stream this side opened.
type webReceiveStream struct {
	c  *webConn
	st receiveStream
}

func (s webReceiveStream) Read(p []byte) (int, error) {
	n, err := s.st.Read(p)
	return n, s.c.streamError(err)
}
func (s webReceiveStream) CancelRead(code wire.ResetCode)    { s.st.CancelRead(toWebCode(code)) }
func (s webReceiveStream) SetReadDeadline(t time.Time) error { return s.st.SetReadDeadline(t) }
func (s webReceiveStream) StreamID() uint64                  { return uint64(s.st.StreamID()) }

type webStream struct {
	*webSendStream
	webReceiveStream
}

// acceptedReceiveStream is the receiving half of a stream the peer opened.
type acceptedReceiveStream struct {
	c  *webConn
	in interface {
		io.Reader
		CancelRead(webtransport.StreamErrorCode)
		StreamID() quic.StreamID
		SetReadDeadline(time.Time) error
	}
}

func (s acceptedReceiveStream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	return n, s.c.streamError(err)
}

func (s acceptedReceiveStream) CancelRead(code wire.ResetCode) {
	s.in.CancelRead(webtransport.StreamErrorCode(code))
}

func (s acceptedReceiveStream) SetReadDeadline(t time.Time) error { return s.in.SetReadDeadline(t) }
func (s acceptedReceiveStream) StreamID() uint64                  { return uint64(s.in.StreamID()) }

// acceptedStream is a bidirectional stream the peer opened.
type acceptedStream struct {
	acceptedReceiveStream
	out *webtransport.Stream
}

func (s acceptedStream) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	return n, s.c.streamError(err)
}
func (s acceptedStream) Close() error { return s.c.streamError(s.out.Close()) }
func (s acceptedStream) CancelWrite(code wire.ResetCode) {
	s.out.CancelWrite(webtransport.StreamErrorCode(code))
}
func (s acceptedStream) SetWriteDeadline(t time.Time) error { return s.out.SetWriteDeadline(t) }
func (s acceptedStream) Context() context.Context           { return s.out.Context() }

// SetPriority does nothing: webtransport-go does not pass it on. quic-go's default is urgency 3, before data of default
// priority.
func (s acceptedStream) SetPriority(int8, bool) {}

// SetReliableBoundary does nothing, as over QUIC.
func (s acceptedStream) SetReliableBoundary() {}
