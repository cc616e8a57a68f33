package qmux

import (
	"bufio"
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

type recordBuffer [Headroom + maxRecord]byte

// records are the buffers of records in work; a connection at rest holds none.
var records = sync.Pool{New: func() any { return new(recordBuffer) }}

// Bytes makes a Transport of a stream of bytes: each record follows its length (§3.2).
func Bytes(rw io.ReadWriteCloser) Transport {
	return &byteTransport{rw: rw, br: bufio.NewReaderSize(rw, 4096)}
}

type byteTransport struct {
	rw  io.ReadWriteCloser
	br  *bufio.Reader
	buf *recordBuffer
}

func (t *byteTransport) ReadRecord(limit int) ([]byte, error) {
	if t.buf != nil {
		records.Put(t.buf)
		t.buf = nil
	}
	size, err := quicvarint.Read(t.br)
	if err != nil {
		return nil, err
	}
	if size > uint64(min(limit, maxRecord)) {
		return nil, broken(FrameEncodingError, "record of %d bytes", size)
	}
	t.buf = records.Get().(*recordBuffer)
	b := t.buf[:size]
	if _, err = io.ReadFull(t.br, b); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
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
