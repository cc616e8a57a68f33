package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"

	"github.com/quic-go/quic-go"
)

// dialQUIC connects over raw QUIC.
func dialQUIC(ctx context.Context, u *url.URL, tlsConf *tls.Config, o *Options) (Conn, error) {
	qc, err := dialConn(ctx, u.Host, clientTLS(tlsConf, u.Hostname(), o.Protocols...), quicConfig(o))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u.Host, connError(err))
	}
	conn, err := newQUICConn(qc, o, target(u))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u.Host, err)
	}
	return conn, nil
}

// dialConn connects to a UDP address from a socket of the connection's own, which is closed with it. quic.DialAddr would do,
// but it has no connection ids on this side, without which a connection cannot move to another socket, and no IPv6.
func dialConn(ctx context.Context, addr string, tlsConf *tls.Config, conf *quic.Config) (*quic.Conn, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	network := "udp6"
	if to.IP.To4() != nil {
		network = "udp4" // a socket for both is slower
	}
	udp, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: udp}
	shut := func() {
		tr.Close()
		udp.Close()
	}
	qc, err := tr.Dial(ctx, to, tlsConf, conf)
	if err != nil {
		shut()
		return nil, err
	}
	context.AfterFunc(qc.Context(), shut)
	return qc, nil
}
