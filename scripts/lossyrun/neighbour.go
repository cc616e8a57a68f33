//go:build linux

package main

import (
	"context"
	"math"
	"net"
	"syscall"
	"time"

	"every.channel/ec/lib/netlab"
)

const bulkPort = "4450"

// serveBulk listens at the encoder's side for a download that never ends, with the congestion control of most machines.
func (p *place) serveBulk() (net.Listener, error) {
	l, err := p.listen(p.from(), "0.0.0.0:"+bulkPort)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if raw, err := c.(syscall.Conn).SyscallConn(); err == nil {
				raw.Control(func(fd uintptr) {
					syscall.SetsockoptString(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, "cubic")
				})
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 64<<10); ; {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l, nil
}

// download reads from there while the programme counts, and returns how many Mbit/s came.
func (p *place) download(ctx context.Context, l net.Listener) float64 {
	defer l.Close()
	if sleep(ctx, p.prog.start) != nil {
		return 0
	}
	c, err := p.dial(p.to(), p.lab.IP(netlab.Side(p.from()))+":"+bulkPort)
	if err != nil {
		return 0
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	var bytes int64
	from, to := p.prog.start.Add(leadTime), p.prog.end()
	for b := make([]byte, 64<<10); ; {
		n, err := c.Read(b)
		now := time.Now()
		if now.After(from) && now.Before(to) {
			bytes += int64(n)
		}
		if err != nil || now.After(to) {
			return math.Round(float64(bytes)*80/to.Sub(from).Seconds()/1e6) / 10
		}
	}
}
