package qmux

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/quic-go/quic-go/quicvarint"
)

// Headroom is how many bytes before a record's frames a Transport may overwrite with a header of its own.
const Headroom = 4

// Transport carries records between two ends, in order and without loss. One goroutine reads, another one writes; Close
// may come from anywhere and ends both.
type Transport interface {
	// ReadRecord returns the frames of the next record, valid until the next call. A record of more than limit bytes
	// is a *TransportError; io.EOF says that the peer sends no more.
	ReadRecord(limit int) ([]byte, error)
	// WriteRecord sends a record in one piece. Its frames are b[Headroom:]; the bytes before them may be overwritten.
	WriteRecord(b []byte) error
	// CloseWrite says that no more follows.
	CloseWrite() error
	Close() error
}

// maxRecord is the largest record sent and accepted: an object of 64 KiB with its headers fits.
const maxRecord = 65 << 10

// lookahead is how much may be read behind a record, so that in a stream of large records each takes one call of Read.
const lookahead = 4096

type recordBuffer [Headroom + maxRecord + lookahead]byte

// records are the buffers of records in work; a connection at rest holds none.
var records = sync.Pool{New: func() any { return new(recordBuffer) }}

// Bytes makes a Transport of a stream of bytes: each record follows its length (§3.2).
func Bytes(rw io.ReadWriteCloser) Transport { return &byteTransport{rw: rw} }

type byteTransport struct {
	rw    io.ReadWriteCloser
	space [lookahead]byte
	ahead []byte // of space: what was read and is not returned yet
	buf   *recordBuffer
}

// ReadByte is for lengths.
func (t *byteTransport) ReadByte() (byte, error) {
	for len(t.ahead) == 0 {
		n, err := t.rw.Read(t.space[:])
		if t.ahead = t.space[:n]; n == 0 && err != nil {
			return 0, err
		}
	}
	b := t.ahead[0]
	t.ahead = t.ahead[1:]
	return b, nil
}

func (t *byteTransport) ReadRecord(limit int) ([]byte, error) {
	if t.buf != nil {
		records.Put(t.buf)
		t.buf = nil
	}
	size, err := quicvarint.Read(t)
	if err != nil {
		return nil, err
	}
	if size > uint64(min(limit, maxRecord)) {
		return nil, broken(FrameEncodingError, "record of %d bytes", size)
	}
	t.buf = records.Get().(*recordBuffer)
	b := t.buf[:size+lookahead]
	n := copy(b[:size], t.ahead)
	t.ahead = t.ahead[n:]
	if n < int(size) {
		more, err := io.ReadAtLeast(t.rw, b[n:], int(size)-n)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		n += more
		t.ahead = t.space[:copy(t.space[:], b[size:n])]
	}
	return b[:size], nil
}

// take hands the buffer of the last record over, or returns nil.
func (t *byteTransport) take() *recordBuffer {
	b := t.buf
	t.buf = nil
	return b
}

func (t *byteTransport) WriteRecord(b []byte) error {
	if size := len(b) - Headroom; size < 1<<14 {
		b = b[Headroom-2:]
		binary.BigEndian.PutUint16(b, 1<<14|uint16(size))
	} else {
		binary.BigEndian.PutUint32(b, 2<<30|uint32(size))
	}
	_, err := t.rw.Write(b)
	return err
}

// CloseWrite closes everything if the transport cannot do it by halves.
func (t *byteTransport) CloseWrite() error {
	if half, ok := t.rw.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.rw.Close()
}

func (t *byteTransport) Close() error { return t.rw.Close() }

// Subprotocols are the names to offer for application protocols over WebSocket, most preferred first: the draft of QMux
// and the protocol, as moq-dev names them.
func Subprotocols(protocols []string) []string {
	var names []string
	for _, p := range protocols {
		for _, draft := range drafts {
			names = append(names, draft+p)
		}
	}
	return names
}

var drafts = []string{"qmux-02.", "qmux-01."}

// ErrSubprotocol: a WebSocket subprotocol that is none of Subprotocols.
var ErrSubprotocol = errors.New("qmux: foreign subprotocol")

// ParseSubprotocol returns the application protocol of a WebSocket subprotocol.
func ParseSubprotocol(name string) (protocol string, err error) {
	for _, draft := range drafts {
		if len(name) > len(draft) && name[:len(draft)] == draft {
			return name[len(draft):], nil
		}
	}
	return "", ErrSubprotocol
}
