package wire

// Setup parameter types (§9.3.1). Their numbers are the same in every draft.
const (
	setupPath               = 0x01
	setupMaxRequestID       = 0x02
	setupAuthorizationToken = 0x03
	setupMaxAuthTokenCache  = 0x04
	setupAuthority          = 0x05
	setupMaxFilterRanges    = 0x06
	setupImplementation     = 0x07
	setupMaxRequestUpdates  = 0x08
)

// SetupParameters are the setup parameters (§9.3.1). A nil field is absent.
type SetupParameters struct {
	Path                  *string
	Authority             *string
	MaxRequestID          *uint64 // up to draft 16
	MaxAuthTokenCacheSize *uint64
	Tokens                []Token
	Implementation        *string
	MaxFilterRanges       *uint64 // how many ranges the filters of a request of the peer may have in all; nil: none. From draft 19 on
	Grease                uint64  // a type from Grease, with no meaning; 0: none. From draft 18 on; it is not read
	MaxRequestUpdates     *uint64 // how many updates of a request may be without an answer; nil or 0: any number. From draft 19 on
}

// Grease returns a type of those that never get a meaning, so that peers learn to ignore what they do not know (draft-18 §14).
func Grease(n uint32) uint64 { return 0x7f*uint64(n) + 0x9d }

// ClientSetup is CLIENT_SETUP (§9.3).
type ClientSetup struct{ Parameters SetupParameters }

// ServerSetup is SERVER_SETUP (§9.3).
type ServerSetup struct{ Parameters SetupParameters }

// Setup is SETUP, the same for both sides (draft-18 §10.3). MaxRequestID is no longer known.
type Setup struct{ Parameters SetupParameters }

// Type returns the message type.
func (*Setup) Type() uint64 { return 0x2f00 }

func (m *Setup) append(w *writer) { w.keyValues(m.Parameters.keyValues(w.v)) }
func (m *Setup) parse(r *reader)  { m.Parameters = r.setupOptions() }

// Type returns the message type.
func (*ClientSetup) Type() uint64 { return 0x20 }

// Type returns the message type.
func (*ServerSetup) Type() uint64 { return 0x21 }

func (m *ClientSetup) append(w *writer) { w.setup(m.Parameters) }
func (m *ServerSetup) append(w *writer) { w.setup(m.Parameters) }
func (m *ClientSetup) parse(r *reader)  { m.Parameters = r.setup() }
func (m *ServerSetup) parse(r *reader)  { m.Parameters = r.setup() }

// setup reads Number of Parameters and that many pairs; unknown types are skipped, as they must be.
func (r *reader) setup() (p SetupParameters) {
	n := r.varint("setup parameter count")
	var prev uint64
	for i := uint64(0); i < n && r.err == nil; i++ {
		kv := r.keyValue(prev)
		p.set(r, kv, i > 0 && kv.Type == prev)
		prev = kv.Type
	}
	return p
}

// setupOptions reads pairs to the end of the message.
func (r *reader) setupOptions() (p SetupParameters) {
	var prev uint64
	for first := true; r.err == nil && len(r.b) > 0; first = false {
		kv := r.keyValue(prev)
		p.set(r, kv, !first && kv.Type == prev)
		prev = kv.Type
	}
	return p
}

// set takes over one pair; again: the type occurred before.
func (p *SetupParameters) set(r *reader, kv KeyValue, again bool) {
	if r.err != nil {
		return
	}
	text := func(dst **string) {
		s := string(kv.Bytes)
		*dst = &s
	}
	known := true
	switch kv.Type {
	case setupPath:
		text(&p.Path)
	case setupMaxRequestID:
		if drafts[r.v].requestStreams {
			known = false // not defined any more
			break
		}
		p.MaxRequestID = &kv.Value
	case setupAuthorizationToken:
		t, err := ParseToken(kv.Bytes, r.v)
		if err != nil {
			r.fail(err)
		}
		p.Tokens = append(p.Tokens, t)
		again = false // may be repeated
	case setupMaxAuthTokenCache:
		p.MaxAuthTokenCacheSize = &kv.Value
	case setupAuthority:
		text(&p.Authority)
	case setupImplementation:
		text(&p.Implementation)
	case setupMaxFilterRanges, setupMaxRequestUpdates:
		if known = drafts[r.v].rangeFilters; !known {
			break
		}
		if kv.Type == setupMaxFilterRanges {
			p.MaxFilterRanges = &kv.Value
		} else {
			p.MaxRequestUpdates = &kv.Value
		}
	default:
		known = false // duplicates of unknown types are allowed (§9.2)
	}
	if again && known {
		r.fail(violation("setup parameter %#x twice", kv.Type))
	}
}

func (w *writer) setup(p SetupParameters) {
	kvs := p.keyValues(w.v)
	w.varint(uint64(len(kvs)))
	w.keyValues(kvs)
}

func (p SetupParameters) keyValues(v Version) []KeyValue {
	var kvs []KeyValue
	text := func(t uint64, s *string) {
		if s != nil {
			kvs = append(kvs, KeyValue{Type: t, Bytes: []byte(*s)})
		}
	}
	number := func(t uint64, x *uint64) {
		if x != nil {
			kvs = append(kvs, KeyValue{Type: t, Value: *x})
		}
	}
	text(setupPath, p.Path)
	if !drafts[v].requestStreams {
		number(setupMaxRequestID, p.MaxRequestID)
	}
	for _, t := range p.Tokens {
		kvs = append(kvs, KeyValue{Type: setupAuthorizationToken, Bytes: t.Append(nil, v)})
	}
	number(setupMaxAuthTokenCache, p.MaxAuthTokenCacheSize)
	text(setupAuthority, p.Authority)
	text(setupImplementation, p.Implementation)
	if drafts[v].rangeFilters {
		number(setupMaxFilterRanges, p.MaxFilterRanges)
		number(setupMaxRequestUpdates, p.MaxRequestUpdates)
	}
	if p.Grease > 0 && drafts[v].requestStreams {
		kvs = append(kvs, KeyValue{Type: p.Grease})
	}
	return kvs
}
