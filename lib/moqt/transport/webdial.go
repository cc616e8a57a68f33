package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"every.channel/ec/lib/moqt/transport/repair"
	"every.channel/ec/lib/moqt/wire"
)

// dialWeb connects over WebTransport.
func dialWeb(ctx context.Context, u *url.URL, tlsConf *tls.Config, o *Options) (Conn, error) {
	addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))
	qc, stats, err := dialConn(ctx, addr, clientTLS(tlsConf, u.Hostname(), alpnHTTP3), o)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, connError(err))
	}
	conn, err := connectWeb(ctx, qc, u, o, stats)
	if err != nil {
		qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

// connectWeb asks for a session on a new connection.
func connectWeb(ctx context.Context, qc *quic.Conn, u *url.URL, o *Options, stats func() repair.Stats) (*webConn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
	defer cancel()
	tr := &webtransport.Transport{ApplicationProtocols: o.Protocols, StreamReorderingTimeout: o.HandshakeTimeout}
	cc, err := tr.NewClientConn(qc)
	if err != nil {
		return nil, err
	}
	res, sess, err := cc.Dial(ctx, u.String(), nil)
	if err != nil {
		return nil, webDialError(res, err)
	}
	// The first request of a connection travels on its first stream, number 0 (RFC 9000 §2.1).
	info := target(u)
	info.Repair = stats
	return newWebConn(qc, sess, 0, o, info)
}

// webDialError explains why there is no session.
func webDialError(res *http.Response, err error) error {
	if res != nil {
		reason := "HTTP status " + res.Status
		switch {
		case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
			return &SessionError{Code: wire.Unauthorized, Reason: reason, Remote: true}
		case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusGone:
			return &SessionError{Code: wire.InvalidPath, Reason: reason, Remote: true}
		case res.StatusCode >= 400 && res.StatusCode < 500:
			return &SessionError{Code: wire.VersionNegotiationFailed, Reason: reason, Remote: true}
		}
	}
	if _, ok := errors.AsType[*webtransport.RequirementsNotMetError](err); ok {
		return &SessionError{Code: wire.VersionNegotiationFailed, Reason: err.Error()}
	}
	return webConnError(err)
}
