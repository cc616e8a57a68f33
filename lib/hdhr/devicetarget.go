package hdhr

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// A datagram to a target holds seven TS packets, after an RTP header when the target asks for one.
const (
	datagramSize  = 7 * packetSize
	rtpHeaderSize = 12
)

type target struct {
	rtp bool
	to  netip.AddrPort
}

// parseTarget reads rtp://ip:port and udp://ip:port; words after it, as "normalize", are ignored.
func parseTarget(s string) (target, error) {
	s, _, _ = strings.Cut(s, " ")
	scheme, addr, _ := strings.Cut(s, "://")
	to, err := netip.ParseAddrPort(strings.TrimPrefix(addr, "@"))
	if err != nil || scheme != "rtp" && scheme != "udp" || to.Port() == 0 || to.Addr().IsUnspecified() {
		return target{}, fmt.Errorf("target %q: want rtp:// or udp:// and ip:port", s)
	}
	return target{scheme == "rtp", to}, nil
}

// startTarget starts the stream of a tuner to its target. Device.mu is held.
func (d *Device) startTarget(ctx context.Context, t *tuner, to target) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to.to))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	t.stop, t.rate = cancel, new(rate)
	sel, rate := t.sel, t.rate
	d.sessions.Add(1)
	go func() {
		defer d.sessions.Done()
		defer conn.Close()
		defer cancel()
		err := d.sendTarget(ctx, &t.pids, rate, sel, to, conn)
		d.log.Debug("target stream ends", "tuner", t.n, "target", to.to, "err", err)
		d.mu.Lock()
		defer d.mu.Unlock()
		// Stopped from outside, the tuner may be another session's by now.
		if ctx.Err() == nil {
			t.stop, t.target = nil, "none"
		}
	}()
	return nil
}

// sendTarget sends a tuner's stream to conn until ctx ends, the stream ends or the target refuses.
func (d *Device) sendTarget(ctx context.Context, filter *atomic.Pointer[pidSet], rate *rate, sel Selection, to target, conn net.Conn) error {
	rc, err := d.tune(ctx, sel)
	if err != nil {
		return err
	}
	defer rc.Close()
	stop := context.AfterFunc(ctx, func() { rc.Close() })
	defer stop()

	datagram := make([]byte, rtpHeaderSize, rtpHeaderSize+datagramSize)
	datagram[0], datagram[1] = 0x80, 33 // RTP version 2, payload type MP2T (RFC 3550 §5.1, RFC 3551 §6)
	binary.BigEndian.PutUint32(datagram[8:], uint32(d.cfg.ID))
	var sequence uint16
	start := time.Now()
	rate.start(start)
	buf := make([]byte, datagramSize)
	for {
		n, err := io.ReadAtLeast(rc, buf, len(buf))
		packets := buf[:n-n%packetSize]
		rate.add(len(packets), time.Now())
		if pids := filter.Load(); pids != nil {
			packets = pids.keep(packets)
		}
		for len(packets) > 0 {
			room := min(rtpHeaderSize+datagramSize-len(datagram), len(packets))
			datagram = append(datagram, packets[:room]...)
			packets = packets[room:]
			if len(datagram) < rtpHeaderSize+datagramSize {
				break
			}
			out := datagram[rtpHeaderSize:]
			if to.rtp {
				binary.BigEndian.PutUint16(datagram[2:], sequence)
				binary.BigEndian.PutUint32(datagram[4:], uint32(time.Since(start)*90/time.Millisecond))
				out = datagram
				sequence++
			}
			if _, err := conn.Write(out); err != nil {
				return err // "connection refused": nobody listens there any more
			}
			datagram = datagram[:rtpHeaderSize]
		}
		if err != nil {
			return err
		}
	}
}
