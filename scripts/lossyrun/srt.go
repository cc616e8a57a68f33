//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	srtPort = "4444"
	srtIn   = "127.0.0.1:4445" // at the encoder
	srtOut  = "127.0.0.1:4446" // at the viewer
)

// srt measures two srt-live-transmit. The left side calls, since its address may change.
func srt(ctx context.Context, p *place) error {
	var to net.PacketConn
	if err := p.lab.In(p.to(), func() (err error) {
		to, err = net.ListenPacket("udp4", srtOut)
		return err
	}); err != nil {
		return err
	}
	defer to.Close()
	if u, ok := to.(*net.UDPConn); ok {
		u.SetReadBuffer(4 << 20)
	}
	address := fmt.Sprintf("srt://%s:%s?latency=%d&mode=", p.lab.IP(1), srtPort, p.row.srtLatency().Milliseconds())
	mode := map[bool]string{true: "caller", false: "listener"}
	for _, args := range [][2]string{
		{"udp://" + srtIn, address + mode[p.up]},
		{address + mode[!p.up], "udp://" + srtOut},
	} {
		side := p.from()
		if args[0] != "udp://"+srtIn {
			side = p.to()
		}
		cmd, err := p.command(side, "srt-live-transmit", "-loglevel:error", args[0], args[1])
		if err != nil {
			return err
		}
		cmd.Stdout = cmd.Stderr
		if err := p.run(cmd); err != nil {
			return err
		}
	}
	return p.together(ctx, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { to.Close() })()
		for b := make([]byte, 2048); ; {
			n, _, err := to.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err != nil {
				return err
			}
			p.prog.cameOne(b[:n], time.Now())
		}
	}, func(ctx context.Context) error {
		var from net.Conn
		if err := p.lab.In(p.from(), func() (err error) {
			from, err = net.Dial("udp4", srtIn)
			return err
		}); err != nil {
			return err
		}
		defer from.Close()
		err := p.prog.packets(ctx, func(b []byte) error {
			from.Write(b) // nobody may listen yet
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
}
