package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/quic-go/quic-go"

	"every.channel/ec/lib/moqt/transport/repair"
)

// dialQUIC connects over raw QUIC.
func dialQUIC(ctx context.Context, u *url.URL, tlsConf *tls.Config, o *Options) (Conn, error) {
	qc, stats, err := dialConn(ctx, u.Host, clientTLS(tlsConf, u.Hostname(), o.Protocols...), o)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u.Host, connError(err))
	}
	info := target(u)
	info.Repair = stats
	conn, err := newQUICConn(qc, o, info)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u.Host, err)
	}
	return conn, nil
}

// dialConn connects to a UDP address from a socket of the connection's own, which is closed with it. quic.DialAddr would do,
// but it has no connection ids on this side, without which a connection cannot move to another socket, and no IPv6.
func dialConn(ctx context.Context, addr string, tlsConf *tls.Config, o *Options) (*quic.Conn, func() repair.Stats, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, nil, err
	}
	network := "udp6"
	if to.IP.To4() != nil {
		network = "udp4" // a socket for both is slower
	}
	udp, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, nil, err
	}
	low, layer, err := repaired(udp, false, o)
	if err != nil {
		return nil, nil, errors.Join(err, udp.Close())
	}
	tr := &quic.Transport{Conn: low}
	shut := func() {
		tr.Close()
		low.Close()
	}
	var stats func() repair.Stats
	if layer != nil {
		if err := layer.Offer(to); err != nil {
			shut()
			return nil, nil, err
		}
		stats = func() repair.Stats { return layer.Stats(to) }
	}
	qc, err := tr.Dial(ctx, to, tlsConf, quicConfig(o))
	if err != nil {
		shut()
		return nil, nil, err
	}
	context.AfterFunc(qc.Context(), shut)
	return qc, stats, nil
}

// repaired returns what QUIC runs on: the socket, or the layer above it that makes good what is lost.
func repaired(udp net.PacketConn, accept bool, o *Options) (net.PacketConn, *repair.Conn, error) {
	u, ok := udp.(*net.UDPConn)
	if !ok || o.NoRepair {
		return coalescing(udp), nil, nil
	}
	s, _ := bulkSocket(u)
	layer, err := repair.New(s, repair.Options{Accept: accept})
	if err != nil {
		return nil, nil, err
	}
	return layer.PacketConn(), layer, nil
}
