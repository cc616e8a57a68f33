package object

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"every.channel/ec/lib/exit"
)

// The framing, docs/format/eco.md.
const (
	Magic      = "\x8fECO\r\n\x1a\n"
	Version    = 1
	HeaderSize = 12

	recordSync = 0xEC4F
	fixedSize  = 16 // of a record, before its head

	typeTrack  = 'T'
	typeObject = 'O'

	MaxHead = 1 << 16  // bytes of a record's head
	MaxBody = 64 << 20 // bytes of a payload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	ErrMagic     = errors.New("not an object stream")
	ErrVersion   = errors.New("object stream of another version")
	ErrTruncated = errors.New("object stream is cut short")
	ErrTooLarge  = errors.New("too large for an object stream")

	// Causes found in a CorruptError.
	ErrSync     = errors.New("no record starts here")
	ErrLength   = errors.New("length out of bounds")
	ErrHead     = errors.New("head does not verify")
	ErrBody     = errors.New("body does not verify")
	ErrAlias    = errors.New("unknown or contradictory track alias")
	ErrTornBody = errors.New("record is cut short")
)

// CorruptError reports damage in an object stream. It is not fatal: the next call of Reader.Next goes on
// with the next record that verifies.
type CorruptError struct {
	Offset int64 // of the damaged record
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("damaged object stream at byte %d: %v", e.Offset, e.Err)
}
func (e *CorruptError) Unwrap() error { return e.Err }

// ExitCode is that of bad data (design: contract of every command).
func (e *CorruptError) ExitCode() int { return exit.BadData }

// TruncatedError reports an input that ends inside a record. All earlier records were returned.
// It is ErrTruncated and io.ErrUnexpectedEOF.
type TruncatedError struct {
	Offset int64 // of the record that is cut short
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("%v: record at byte %d has no end", ErrTruncated, e.Offset)
}
func (e *TruncatedError) Unwrap() []error { return []error{ErrTruncated, io.ErrUnexpectedEOF} }

// ExitCode is that of bad data.
func (e *TruncatedError) ExitCode() int { return exit.BadData }

// MagicError reports an input that is something else. It is ErrMagic.
type MagicError struct {
	Found string // "empty input", "MPEG-TS", or "" when not known
	hint  string
}

func (e *MagicError) Error() string {
	if e.Found == "" {
		return ErrMagic.Error()
	}
	return fmt.Sprintf("%v: found %s", ErrMagic, e.Found)
}
func (e *MagicError) Unwrap() error { return ErrMagic }

// Hint tells what to do instead, or "".
func (e *MagicError) Hint() string { return e.hint }

// ExitCode is that of bad data.
func (e *MagicError) ExitCode() int { return exit.BadData }

// appendHeader appends a stream header.
func appendHeader(b []byte) []byte {
	b = append(b, Magic...)
	return append(b, Version, 0, 0, 0)
}

// beginRecord appends the fixed part with its lengths and checksum still to come; what is appended
// next is the head. endHead fills them in; start is where beginRecord began.
func beginRecord(b []byte, typ byte) []byte {
	return append(b, recordSync>>8, recordSync&0xff, typ, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

func endHead(b []byte, start, body int) error {
	r := b[start:]
	head := len(r) - fixedSize
	if head > MaxHead || body > MaxBody {
		return fmt.Errorf("%w: head of %d, payload of %d bytes", ErrTooLarge, head, body)
	}
	binary.BigEndian.PutUint32(r[4:], uint32(head))
	binary.BigEndian.PutUint32(r[8:], uint32(body))
	binary.BigEndian.PutUint32(r[12:], headCRC(r))
	return nil
}

// headCRC covers bytes 0–11 of the record and its head.
func headCRC(r []byte) uint32 {
	return crc32.Update(crc32.Checksum(r[:12], castagnoli), castagnoli, r[fixedSize:])
}
