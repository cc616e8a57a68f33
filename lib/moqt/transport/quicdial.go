package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

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
	began := time.Now()
	qc, err := tr.Dial(ctx, to, tlsConf, quicConfig(o))
	if err != nil {
		shut()
		return nil, nil, err
	}
	if layer != nil && !to.IP.IsLoopback() && disturbed(qc, time.Since(began), stats()) { // a busy machine is no path with loss
		if again, err := tr.Dial(ctx, to, tlsConf, quicConfig(o)); err == nil {
			qc.CloseWithError(0, "")
			qc = again
		}
	}
	context.AfterFunc(qc.Context(), shut)
	return qc, stats, nil
}

// againFrom is the round trip from which on a connection without slow start takes seconds to come to a broadcast's rate.
const againFrom = 25 * time.Millisecond

// disturbed reports whether datagrams of a handshake seem to have been lost, on either side. It ran before both sides had agreed to repair
// what is lost, and slow start, which QUIC has once (RFC 9002 §7.3.1), is over for the side that lost one. A second connection begins with
// repair.
func disturbed(qc *quic.Conn, took time.Duration, below repair.Stats) bool {
	s := qc.ConnectionStats()
	return below.Spoken && min(s.MinRTT, below.RTT) > againFrom && (s.PacketsLost > 0 || took > 2*s.MinRTT+50*time.Millisecond)
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
