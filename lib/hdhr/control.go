package hdhr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// controlTimeout bounds connecting and each request (hdhomerun_control.c: 2.5 s each).
const controlTimeout = 2500 * time.Millisecond

// Control is a connection to a device's control server. It serves one caller at a time.
type Control struct {
	c   net.Conn
	buf []byte
}

// DialControl connects to a device. Port 0 is the protocol's own.
func DialControl(ctx context.Context, addr netip.AddrPort) (*Control, error) {
	if addr.Port() == 0 {
		addr = netip.AddrPortFrom(addr.Addr(), ControlPort)
	}
	dialer := net.Dialer{Timeout: controlTimeout}
	c, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return &Control{c: c, buf: make([]byte, 0, 2*MaxPacket)}, nil
}

// Close closes the connection. It may be called while a request runs.
func (c *Control) Close() error { return c.c.Close() }

// Get reads a variable such as "/tuner0/status". A device's refusal is a ControlError.
func (c *Control) Get(ctx context.Context, name string) (string, error) {
	return c.do(ctx, GetSet{Name: name})
}

// Set changes a variable and returns the value that then holds. key is the caller's lock key, 0 for none.
func (c *Control) Set(ctx context.Context, name, value string, key uint32) (string, error) {
	return c.do(ctx, GetSet{Name: name, Value: &value, LockKey: key})
}

// Status reads what a tuner receives.
func (c *Control) Status(ctx context.Context, tuner int) (TunerStatus, error) {
	s, err := c.Get(ctx, fmt.Sprintf("/tuner%d/status", tuner))
	if err != nil {
		return TunerStatus{}, err
	}
	return ParseTunerStatus(s), nil
}

func (c *Control) do(ctx context.Context, m GetSet) (v string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("control: %s: %w", m.Name, err)
		}
	}()
	deadline := time.Now().Add(controlTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.c.SetDeadline(deadline); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { c.c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.c.Write(m.Append(nil, TypeGetSetRequest)); err != nil {
		return "", err
	}
	for {
		p, n, err := ParsePacket(c.buf)
		if errors.Is(err, ErrShort) {
			k, err := c.c.Read(c.buf[len(c.buf):cap(c.buf)])
			if err != nil {
				return "", err
			}
			c.buf = c.buf[:len(c.buf)+k]
			continue
		}
		if err != nil {
			return "", err
		}
		reply := ParseGetSet(p.Payload)
		c.buf = c.buf[:copy(c.buf, c.buf[n:])]
		switch {
		case p.Type != TypeGetSetReply:
			return "", fmt.Errorf("reply of type %d", p.Type)
		case reply.Error != "":
			return "", ControlError(strings.TrimPrefix(reply.Error, "ERROR: "))
		case reply.Value == nil:
			return "", errors.New("reply without a value")
		}
		return *reply.Value, nil
	}
}
