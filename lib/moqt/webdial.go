package moqt

import (
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

	"every.channel/ec/lib/moqt/wire"
)

// DialWebTransport connects to https://host:port/path over WebTransport and exchanges setup messages. Run must be called
// next. tlsConf may be nil; ALPN is set here.
func DialWebTransport(ctx context.Context, rawURL string, tlsConf *tls.Config, conf *Config) (*Session, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("https URL: %w", err)
	}
	if u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("https URL %q: want https://host:port/path", rawURL)
	}
	addr := net.JoinHostPort(u.Hostname(), or(u.Port(), DefaultPort))
	c := conf.withDefaults()
	qc, err := dialConn(ctx, addr, clientTLS(tlsConf, u.Hostname(), alpnHTTP3), quicConfig(c))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, asDialError(err))
	}
	conn, err := connectWeb(ctx, qc, u, c)
	if err != nil {
		qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	s := NewClient(conn, "", "", conf)
	if err := s.Handshake(ctx); err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return s, nil
}

// connectWeb asks for a session on a new connection.
func connectWeb(ctx context.Context, qc *quic.Conn, u *url.URL, conf *Config) (*webConn, error) {
	ctx, cancel := context.WithTimeout(ctx, conf.HandshakeTimeout)
	defer cancel()
	tr := &webtransport.Transport{ApplicationProtocols: alpns(conf), StreamReorderingTimeout: conf.HandshakeTimeout}
	cc, err := tr.NewClientConn(qc)
	if err != nil {
		return nil, err
	}
	res, sess, err := cc.Dial(ctx, u.String(), nil)
	if err != nil {
		return nil, webDialError(res, err)
	}
	// The first request of a connection travels on its first stream, number 0 (RFC 9000 §2.1).
	return newWebConn(qc, sess, 0)
}

// webDialError says what it means that there is no session.
func webDialError(res *http.Response, err error) error {
	if res != nil {
		reason := "HTTP status " + res.Status
		switch {
		case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
			return &SessionError{Code: wire.Unauthorized, Reason: reason, Remote: true}
		case res.StatusCode >= 400 && res.StatusCode < 500:
			return &SessionError{Code: wire.VersionNegotiationFailed, Reason: reason, Remote: true}
		}
	}
	if _, ok := errors.AsType[*webtransport.RequirementsNotMetError](err); ok {
		return &SessionError{Code: wire.VersionNegotiationFailed, Reason: err.Error()}
	}
	return webConnError(err)
}
