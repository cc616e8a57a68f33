package object

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

const (
	startBuffer = 64 << 10
	maxAliases  = 1 << 16 // of one stream header
	sniffBytes  = 1 << 10 // looked at when the magic is missing
	maxScanHead = 8 << 10 // longest head believed while looking for the place; bounds the work on hostile input
)

// Track is a declared track.
type Track struct {
	Name       TrackName
	Properties []byte // of the track, raw key-value pairs
}

// Record is one track declaration or one object. The Record and its Object's slices are valid until
// the next call of Next; its Track stays valid for good.
type Record struct {
	Offset  int64 // of the record's first byte in the input
	Size    int64 // of the whole record
	Track   *Track
	IsTrack bool   // a declaration: Object is empty
	Object  Object // otherwise
}

// Reader reads an object stream, or several one after another. What it returns does not depend on the
// sizes of the reads underneath. A Reader is not safe for concurrent use.
type Reader struct {
	r      io.Reader
	buf    []byte
	lo, hi int   // unread bytes are buf[lo:hi]
	off    int64 // of buf[lo] in the input
	rerr   error // what the input ended with
	err    error // what Next ends with

	begun   bool
	lost    bool // place lost: scan for a record that verifies
	skip    int  // bytes of the record returned last
	badBody int  // size of a record whose body did not verify
	tracks  map[uint64]*Track
	rec     Record
}

// NewReader returns a Reader of r. It reads ahead, but never waits for more than the record it returns.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: r, tracks: make(map[uint64]*Track)}
}

// Reset makes the Reader read from r, keeping its buffer.
func (r *Reader) Reset(src io.Reader) {
	clear(r.tracks)
	*r = Reader{r: src, buf: r.buf, tracks: r.tracks}
}

// Next returns the next record. Errors:
//
//   - io.EOF: the input ended between records.
//   - *CorruptError: damage; call Next again to go on with what follows.
//   - *MagicError, ErrVersion: this is something else.
//   - *TruncatedError: the input ended inside a record.
//   - anything else: the error of the underlying reader.
//
// All but *CorruptError are final. A repeated declaration of a track is not returned again.
func (r *Reader) Next() (*Record, error) {
	r.consume(r.skip)
	r.skip = 0
	for r.err == nil {
		rec, err := r.step()
		if err == nil && rec == nil {
			continue
		}
		if _, damage := err.(*CorruptError); err != nil && !damage {
			r.err = err
		}
		return rec, err
	}
	return nil, r.err
}

// step returns a record, an error, or neither when there is more to do.
func (r *Reader) step() (*Record, error) {
	if !r.begun {
		return nil, r.begin()
	}
	if r.badBody > 0 {
		// If a record follows where the lengths say, the body was altered; otherwise bytes are
		// missing and the next record starts somewhere in it.
		size := r.badBody
		r.badBody = 0
		if r.need(size) && (!r.need(size+1) || r.verifiedAt(size)) {
			r.consume(size)
		} else {
			r.consume(fixedSize)
			r.lost = true
		}
		return nil, nil
	}
	if r.lost {
		if !r.scan() {
			return nil, r.rerr
		}
		r.lost = false
	}
	if !r.need(1) {
		return nil, r.rerr
	}
	switch r.buf[r.lo] {
	case Magic[0]:
		return nil, r.header()
	default:
		return r.record()
	}
}

// begin checks the magic of the first header.
func (r *Reader) begin() error {
	r.begun = true
	if r.need(HeaderSize) && string(r.buf[r.lo:r.lo+len(Magic)]) == Magic {
		return nil
	}
	if r.rerr != nil && !errors.Is(r.rerr, io.EOF) {
		return r.rerr
	}
	if r.lo == r.hi {
		return &MagicError{Found: "empty input", hint: "nothing arrived; check the command before the pipe"}
	}
	head := r.buf[r.lo:r.hi]
	if len(head) < HeaderSize && bytes.HasPrefix([]byte(Magic), head[:min(len(head), len(Magic))]) {
		return &TruncatedError{Offset: r.off}
	}
	r.need(sniffBytes)
	for i := range min(r.hi-r.lo, sniffBytes) { // a damaged header with good records behind it
		if r.verifiedAt(i) {
			err := &CorruptError{Offset: r.off, Err: ErrMagic}
			r.consume(i)
			return err
		}
	}
	return sniff(r.buf[r.lo:r.hi])
}

// sniff says what the input is instead.
func sniff(b []byte) *MagicError {
	for _, size := range []int{188, 192, 204} { // H.222.0 §2.4.3.2, with time code, with Reed-Solomon
		for start := range min(size, len(b)) {
			n := 0
			for i := start; i < len(b) && b[i] == 0x47; i += size {
				n++
			}
			if n >= 3 && start+n*size >= len(b) {
				return &MagicError{"MPEG-TS", "input looks like MPEG-TS; pipe it through ec-chop"}
			}
		}
	}
	switch {
	case len(b) >= 188 && len(b) < 3*188 && b[0] == 0x47:
		return &MagicError{"MPEG-TS", "input looks like MPEG-TS; pipe it through ec-chop"}
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878 §3.1.1
		return &MagicError{"zstd", "input is zstd-compressed; pipe it through zstd -dc"}
	}
	return &MagicError{hint: "ec-chop makes one of MPEG-TS"}
}

// header consumes a stream header, which forgets all aliases.
func (r *Reader) header() error {
	if !r.need(HeaderSize) {
		return r.torn(ErrMagic)
	}
	h := r.buf[r.lo : r.lo+HeaderSize]
	if string(h[:len(Magic)]) != Magic {
		return r.corrupt(ErrSync)
	}
	if h[8] != Version {
		return fmt.Errorf("%w: version %d, this reader knows %d", ErrVersion, h[8], Version)
	}
	clear(r.tracks)
	r.consume(HeaderSize)
	return nil
}

// record returns the record at the read position, or nothing when it is one that is skipped.
func (r *Reader) record() (*Record, error) {
	if !r.need(fixedSize) {
		if r.buf[r.lo] != recordSync>>8 {
			return nil, r.corrupt(ErrSync)
		}
		return nil, r.torn(ErrTornBody)
	}
	head, body, err := lengths(r.buf[r.lo:])
	if err != nil {
		return nil, r.corrupt(err)
	}
	if !r.need(fixedSize + head) {
		return nil, r.torn(ErrTornBody)
	}
	if !headVerifies(r.buf[r.lo:r.hi], head) {
		return nil, r.corrupt(ErrHead)
	}
	size := fixedSize + head + body
	if body > 0 {
		size += 4
	}
	if !r.need(size) {
		return nil, r.torn(ErrTornBody)
	}
	raw := r.buf[r.lo : r.lo+size : r.lo+size]
	payload := raw[fixedSize+head : fixedSize+head+body]
	if body > 0 && crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(raw[size-4:]) {
		r.badBody = size
		return nil, &CorruptError{Offset: r.off, Err: ErrBody}
	}
	r.skip = size
	r.rec = Record{Offset: r.off, Size: int64(size)}
	switch raw[2] {
	case typeTrack:
		fresh, err := r.parseTrack(raw[fixedSize : fixedSize+head])
		if err == nil && fresh {
			return &r.rec, nil
		}
		return nil, r.skipped(err)
	case typeObject:
		if err := r.parseObject(raw[fixedSize:fixedSize+head], payload); err != nil {
			return nil, r.skipped(err)
		}
		return &r.rec, nil
	}
	return nil, r.skipped(nil)
}

// skipped passes a record that verifies but is not returned.
func (r *Reader) skipped(err error) error {
	off := r.off
	r.consume(r.skip)
	r.skip = 0
	if err == nil {
		return nil
	}
	return &CorruptError{Offset: off, Err: err}
}

func (r *Reader) parseTrack(h []byte) (fresh bool, err error) {
	p := parser{b: h}
	alias, fields := p.varint(), p.varint()
	if fields > MaxNamespaceFields {
		return false, fmt.Errorf("%w: %d namespace fields", ErrLength, fields)
	}
	var t Track
	for range fields {
		t.Name.Namespace = append(t.Name.Namespace, string(p.bytes()))
	}
	t.Name.Name = string(p.bytes())
	t.Properties = bytes.Clone(p.bytes())
	if err := p.done(); err != nil {
		return false, err
	}
	if err := t.Name.Validate(); err != nil {
		return false, err
	}
	old := r.tracks[alias]
	switch {
	case old == nil && len(r.tracks) >= maxAliases:
		return false, fmt.Errorf("%w: more than %d tracks", ErrAlias, maxAliases)
	case old != nil && !old.Name.Equal(t.Name):
		return false, fmt.Errorf("%w: %d is %v, now %v", ErrAlias, alias, old.Name, t.Name)
	case old != nil && bytes.Equal(old.Properties, t.Properties):
		return false, nil
	}
	r.tracks[alias] = &t
	r.rec.Track, r.rec.IsTrack = &t, true
	return true, nil
}

func (r *Reader) parseObject(h, payload []byte) error {
	p := parser{b: h}
	alias := p.varint()
	o := &r.rec.Object
	o.Group, o.Subgroup, o.ID = p.varint(), p.varint(), p.varint()
	o.Priority = p.byte()
	o.Status = Status(p.varint())
	if b := p.bytes(); len(b) > 0 {
		o.Properties = slices.Clip(b)
	}
	if err := p.done(); err != nil {
		return err
	}
	if len(payload) > 0 {
		if o.Status != Normal {
			return fmt.Errorf("%w: status %d with a payload", ErrBody, o.Status)
		}
		o.Payload = slices.Clip(payload)
	}
	if r.rec.Track = r.tracks[alias]; r.rec.Track == nil {
		return fmt.Errorf("%w: %d", ErrAlias, alias)
	}
	return nil
}

// corrupt reports damage at the read position and gives the place up.
func (r *Reader) corrupt(cause error) error {
	err := &CorruptError{Offset: r.off, Err: cause}
	r.consume(1)
	r.lost = true
	return err
}

// torn reports a record that the input ended in: truncation, unless more records follow, which proves
// that bytes are missing in its middle.
func (r *Reader) torn(cause error) error {
	if !errors.Is(r.rerr, io.EOF) {
		return r.rerr
	}
	off := r.off
	rest := r.hi - r.lo
	for i := 1; i < rest; i++ {
		if r.verifiedAt(i) {
			r.consume(i)
			return &CorruptError{Offset: off, Err: cause}
		}
	}
	r.consume(rest)
	return &TruncatedError{Offset: off}
}

// scan moves to the next header or record whose head verifies.
func (r *Reader) scan() bool {
	for r.need(2) {
		b := r.buf[r.lo:r.hi]
		i := 0
		for i < len(b)-1 && !(b[i] == recordSync>>8 && b[i+1] == recordSync&0xff ||
			b[i] == Magic[0] && b[i+1] == Magic[1]) {
			i++
		}
		r.consume(i)
		if i == len(b)-1 {
			continue
		}
		if r.verifiedAt(0) {
			return true
		}
		r.consume(1)
	}
	if r.rerr == io.EOF {
		r.consume(r.hi - r.lo)
	}
	return false
}

// verifiedAt reports whether, i bytes on, a header or the head of a record of a known type verifies.
func (r *Reader) verifiedAt(i int) bool {
	if !r.need(i + HeaderSize) {
		return false
	}
	b := r.buf[r.lo+i:]
	if b[0] == Magic[0] {
		return string(b[:len(Magic)]) == Magic && b[8] == Version
	}
	if b[0] != recordSync>>8 || b[1] != recordSync&0xff || b[2] != typeTrack && b[2] != typeObject || !r.need(i+fixedSize) {
		return false
	}
	head, _, err := lengths(r.buf[r.lo+i:])
	return err == nil && head <= maxScanHead && r.need(i+fixedSize+head) && headVerifies(r.buf[r.lo+i:r.hi], head)
}

func lengths(b []byte) (head, body int, err error) {
	if b[0] != recordSync>>8 || b[1] != recordSync&0xff {
		return 0, 0, ErrSync
	}
	h, l := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	if h > MaxHead || l > MaxBody {
		return 0, 0, fmt.Errorf("%w: head of %d, payload of %d bytes", ErrLength, h, l)
	}
	return int(h), int(l), nil
}

func headVerifies(b []byte, head int) bool {
	return headCRC(b[:fixedSize+head]) == binary.BigEndian.Uint32(b[12:])
}

func (r *Reader) consume(n int) {
	r.lo += n
	r.off += int64(n)
}

// need reports whether n bytes are unread in the buffer, reading until they are. The buffer grows with
// what arrives, never with what a length promises.
func (r *Reader) need(n int) bool {
	for empty := 0; r.hi-r.lo < n; {
		if r.rerr != nil {
			return false
		}
		switch {
		case r.lo == r.hi:
			r.lo, r.hi = 0, 0
		case r.lo+n > len(r.buf) && r.lo > 0: // the record does not fit behind what is consumed
			r.hi = copy(r.buf, r.buf[r.lo:r.hi])
			r.lo = 0
		}
		if r.hi == len(r.buf) {
			r.buf = append(r.buf, make([]byte, max(startBuffer, len(r.buf)))...)
			r.buf = r.buf[:cap(r.buf)]
		}
		var k int
		k, r.rerr = r.r.Read(r.buf[r.hi:])
		r.hi += k
		if k > 0 || r.rerr != nil {
			empty = 0
		} else if empty++; empty >= 100 {
			r.rerr = io.ErrNoProgress
		}
	}
	return true
}

// parser reads the fields of a head; after the first that does not fit, all are empty.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) varint() uint64 {
	v, n := ConsumeVarint(p.b)
	p.bad = p.bad || n == 0
	p.b = p.b[n:]
	return v
}

func (p *parser) bytes() []byte {
	v, n := consumeBytes(p.b)
	p.bad = p.bad || n == 0
	p.b = p.b[n:]
	return v
}

func (p *parser) byte() byte {
	if len(p.b) == 0 {
		p.bad = true
		return 0
	}
	c := p.b[0]
	p.b = p.b[1:]
	return c
}

func (p *parser) done() error {
	if p.bad || len(p.b) > 0 {
		return fmt.Errorf("%w: fields do not fill the head", ErrHead)
	}
	return nil
}
