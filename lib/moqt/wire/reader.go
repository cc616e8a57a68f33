package wire

import "fmt"

// reader takes fields off a bounded buffer. The first failure sticks, so that a structure is decoded
// field by field and asked once, at its end, whether it was whole.
type reader struct {
	b   []byte
	v   Version
	vi  varintCodec
	typ uint64 // Message.Type of the message being read

	wideBytes bool // parameters that the draft writes as a byte are variable-length integers

	err error
}

func newReader(b []byte, v Version) *reader { return &reader{b: b, v: v, vi: drafts[v].varint} }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) incomplete(what string) {
	r.fail(&Error{Code: ProtocolViolation, What: what, Err: ErrIncomplete})
}

func (r *reader) varint(what string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := r.vi.parse(r.b)
	if n == 0 {
		r.incomplete(what)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// answered reads the request id of an answer, which drafts with a stream per request do not need.
func (r *reader) answered() uint64 {
	if drafts[r.v].requestStreams {
		return 0
	}
	return r.varint("request id")
}

func (r *reader) byte(what string) byte {
	if r.err != nil {
		return 0
	}
	if len(r.b) == 0 {
		r.incomplete(what)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// take returns the next n bytes, which alias the input.
func (r *reader) take(n uint64, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.incomplete(what)
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// lengthBytes reads a length of at most limit and as many bytes, which alias the input.
func (r *reader) lengthBytes(limit uint64, what string) []byte {
	n := r.varint(what)
	if r.err == nil && n > limit {
		r.fail(violation("%s length %d over %d", what, n, limit))
		return nil
	}
	return r.take(n, what)
}

// rest takes everything that is left.
func (r *reader) rest() []byte {
	p := r.b
	r.b = nil
	return p
}

// done returns the sticky error, or a violation if bytes are left over.
func (r *reader) done(what string) error {
	if r.err != nil {
		return fmt.Errorf("%s: %w", what, r.err)
	}
	if len(r.b) > 0 {
		return violation("%s: %d bytes after the last field", what, len(r.b))
	}
	return nil
}

// writer appends fields. Its first failure sticks, too: a value that this draft cannot carry.
type writer struct {
	b   []byte
	v   Version
	vi  varintCodec
	typ uint64 // Message.Type of the message being written
	err error
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func newWriter(b []byte, v Version) *writer { return &writer{b: b, v: v, vi: drafts[v].varint} }

func (w *writer) varint(x uint64) {
	if x > w.vi.max() {
		w.fail(fmt.Errorf("%d: %w", x, ErrValue))
	}
	w.b = w.vi.append(w.b, x)
}

// answered writes the request id of an answer where the draft has it.
func (w *writer) answered(id uint64) {
	if !drafts[w.v].requestStreams {
		w.varint(id)
	}
}

func (w *writer) byte(c byte) { w.b = append(w.b, c) }

func (w *writer) lengthBytes(p []byte) {
	w.varint(uint64(len(p)))
	w.b = append(w.b, p...)
}

func (w *writer) lengthString(s string) {
	w.varint(uint64(len(s)))
	w.b = append(w.b, s...)
}
