package object

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// copyBelow is the payload size up to which one write with a copy is cheaper than three without.
const copyBelow = 16 << 10

// Writer writes an object stream. Every call hands all its bytes to the underlying writer before it
// returns, so a live pipe never waits in here. A Writer is not safe for concurrent use.
type Writer struct {
	w       io.Writer
	tracks  map[string]*declared // by written name
	last    *declared
	next    uint64 // alias
	headed  bool   // the stream header is written
	key     []byte // scratch
	buf     []byte // scratch
	written int64
	size    int64 // of the last object's record
	err     error
}

type declared struct {
	name       TrackName
	alias      uint64
	properties []byte
	known      bool   // a track record is in the stream
	group      uint64 // of the last object
}

// NewWriter returns a Writer that starts a stream. Nothing is written before the first call.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, tracks: make(map[string]*declared)}
}

// NewAppendWriter returns a Writer that continues a stream that holds a header and whose last header is
// followed by the declarations of these tracks, in this order, with aliases from 0.
func NewAppendWriter(w io.Writer, tracks ...TrackName) *Writer {
	a := NewWriter(w)
	a.headed = true
	for _, t := range tracks {
		d := a.track(t)
		d.known = true
		d.group = ^uint64(0)
	}
	return a
}

// Resume says of a Writer that continues a stream with one track that the last object in the stream was of this group, so that the track need
// not be declared again.
func (w *Writer) Resume(group uint64) {
	if w.last != nil {
		w.last.group = group
	}
}

// Written returns how many bytes have been written.
func (w *Writer) Written() int64 { return w.written }

// LastSize returns the size of the record of the object written last, which is the last in the stream.
func (w *Writer) LastSize() int64 { return w.size }

// WriteHeader writes the stream header if nothing has been written yet: a stream without records is
// still a stream.
func (w *Writer) WriteHeader() error {
	if w.err != nil || w.headed {
		return w.err
	}
	return w.flush(w.start())
}

// WriteTrack declares a track with its track properties. Without it the first object of the track
// declares it with none.
func (w *Writer) WriteTrack(t TrackName, properties []byte) error {
	if w.err != nil {
		return w.err
	}
	if err := t.Validate(); err != nil {
		return err
	}
	d := w.track(t)
	if d.known && bytes.Equal(d.properties, properties) {
		return nil
	}
	d.properties = bytes.Clone(properties)
	b, err := w.appendTrack(w.start(), d)
	if err != nil {
		return err
	}
	d.known = true
	return w.flush(b)
}

// WriteObject writes one object; the track is declared on first use, and again when its group changes,
// so that whoever finds his place again after damage knows it. Nothing of o is kept.
func (w *Writer) WriteObject(t TrackName, o *Object) error {
	if w.err != nil {
		return w.err
	}
	d := w.last
	if d == nil || !d.name.Equal(t) {
		if err := t.Validate(); err != nil {
			return err
		}
		d = w.track(t)
	}
	if err := o.check(); err != nil {
		return fmt.Errorf("object %d of group %d: %w", o.ID, o.Group, err)
	}
	b := w.start()
	if !d.known || d.group != o.Group {
		var err error
		if b, err = w.appendTrack(b, d); err != nil {
			return err
		}
	}
	start := len(b)
	b = beginRecord(b, typeObject)
	b = AppendVarint(b, d.alias)
	b = AppendVarint(b, o.Group)
	b = AppendVarint(b, o.Subgroup)
	b = AppendVarint(b, o.ID)
	b = append(b, o.Priority)
	b = AppendVarint(b, uint64(o.Status))
	b = AppendVarint(b, uint64(len(o.Properties)))
	b = append(b, o.Properties...)
	if err := endHead(b, start, len(o.Payload)); err != nil {
		w.buf = b
		return fmt.Errorf("object %d of group %d: %w", o.ID, o.Group, err)
	}
	d.known, d.group = true, o.Group
	w.size = int64(len(b) - start)
	if len(o.Payload) == 0 {
		return w.flush(b)
	}
	w.size += int64(len(o.Payload)) + 4
	sum := crc32.Checksum(o.Payload, castagnoli)
	if len(o.Payload) <= copyBelow {
		b = append(b, o.Payload...)
		return w.flush(binary.BigEndian.AppendUint32(b, sum))
	}
	if err := w.flush(b); err != nil {
		return err
	}
	if err := w.write(o.Payload); err != nil {
		return err
	}
	return w.flush(binary.BigEndian.AppendUint32(b[:0], sum))
}

func (o *Object) check() error {
	if o.Group > MaxVarint || o.Subgroup > MaxVarint || o.ID > MaxVarint || o.Status > MaxVarint {
		return fmt.Errorf("%w: id above 2^62-1", ErrTooLarge)
	}
	if o.Status != Normal && len(o.Payload) > 0 {
		return fmt.Errorf("%w: status %d with a payload", ErrBody, o.Status)
	}
	return nil
}

// track finds or makes the alias of t and remembers it as the last one used.
func (w *Writer) track(t TrackName) *declared {
	w.key = t.Append(w.key[:0])
	d := w.tracks[string(w.key)]
	if d == nil {
		d = &declared{alias: w.next, name: TrackName{append(Namespace(nil), t.Namespace...), t.Name}}
		w.next++
		w.tracks[string(w.key)] = d
	}
	w.last = d
	return d
}

// start returns the scratch buffer, with the stream header in it if that is due.
func (w *Writer) start() []byte {
	if w.headed {
		return w.buf[:0]
	}
	return appendHeader(w.buf[:0])
}

func (w *Writer) appendTrack(b []byte, d *declared) ([]byte, error) {
	start := len(b)
	b = beginRecord(b, typeTrack)
	b = AppendVarint(b, d.alias)
	b = AppendVarint(b, uint64(len(d.name.Namespace)))
	for _, f := range d.name.Namespace {
		b = AppendVarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	b = AppendVarint(b, uint64(len(d.name.Name)))
	b = append(b, d.name.Name...)
	b = AppendVarint(b, uint64(len(d.properties)))
	b = append(b, d.properties...)
	if err := endHead(b, start, 0); err != nil {
		return nil, fmt.Errorf("track %v: %w", d.name, err)
	}
	return b, nil
}

// flush writes b, which is the scratch buffer or grew out of it.
func (w *Writer) flush(b []byte) error {
	w.buf = b[:0]
	if err := w.write(b); err != nil {
		return err
	}
	w.headed = true
	return nil
}

func (w *Writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.written += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	w.err = err // a stream with a torn record in it cannot be continued
	return err
}
