package moqt

import (
	"context"
	"errors"

	"every.channel/ec/lib/moqt/wire"
)

// recoded is a connection whose streams are reset with the numbers a draft has for its codes, which differ between drafts.
type recoded struct {
	Conn
	v Version
}

func (c recoded) OpenStream(ctx context.Context) (Stream, error) {
	return c.both(c.Conn.OpenStream(ctx))
}

func (c recoded) AcceptStream(ctx context.Context) (Stream, error) {
	return c.both(c.Conn.AcceptStream(ctx))
}

func (c recoded) OpenUniStream(ctx context.Context) (SendStream, error) {
	st, err := c.Conn.OpenUniStream(ctx)
	if err != nil {
		return nil, err
	}
	return recodedSend{st, c.v}, nil
}

func (c recoded) AcceptUniStream(ctx context.Context) (ReceiveStream, error) {
	st, err := c.Conn.AcceptUniStream(ctx)
	if err != nil {
		return nil, err
	}
	return recodedReceive{st, c.v}, nil
}

func (c recoded) both(st Stream, err error) (Stream, error) {
	if err != nil {
		return nil, err
	}
	return duplex{recodedSend{st, c.v}, recodedReceive{st, c.v}}, nil
}

// duplex makes a stream of two halves.
type duplex struct {
	SendStream
	ReceiveStream
}

type recodedSend struct {
	SendStream
	v Version
}

func (s recodedSend) Write(p []byte) (int, error) {
	n, err := s.SendStream.Write(p)
	return n, recode(err, s.v)
}

func (s recodedSend) CancelWrite(code ResetCode) { s.SendStream.CancelWrite(ResetCode(code.Wire(s.v))) }

type recodedReceive struct {
	ReceiveStream
	v Version
}

func (s recodedReceive) Read(p []byte) (int, error) {
	n, err := s.ReceiveStream.Read(p)
	return n, recode(err, s.v)
}

func (s recodedReceive) CancelRead(code ResetCode) {
	s.ReceiveStream.CancelRead(ResetCode(code.Wire(s.v)))
}

func recode(err error, v Version) error {
	var reset *StreamResetError
	if err == nil || !errors.As(err, &reset) {
		return err
	}
	return &StreamResetError{Code: wire.ResetCodeOf(v, uint64(reset.Code)), Remote: reset.Remote}
}
