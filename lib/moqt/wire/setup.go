package wire

// Setup parameter types (§9.3.1). Their numbers are the same in every draft.
const (
	setupPath               = 0x01
	setupMaxRequestID       = 0x02
	setupAuthorizationToken = 0x03
	setupMaxAuthTokenCache  = 0x04
	setupAuthority          = 0x05
	setupImplementation     = 0x07
)

// SetupParameters are the setup parameters (§9.3.1). A nil field is absent.
type SetupParameters struct {
	Path                  *string
	Authority             *string
	MaxRequestID          *uint64
	MaxAuthTokenCacheSize *uint64
	Tokens                []Token
	Implementation        *string
}

// ClientSetup is CLIENT_SETUP (§9.3).
type ClientSetup struct{ Parameters SetupParameters }

// ServerSetup is SERVER_SETUP (§9.3).
type ServerSetup struct{ Parameters SetupParameters }

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
		if r.err != nil {
			break
		}
		again := i > 0 && kv.Type == prev
		prev = kv.Type
		text := func(dst **string) {
			s := string(kv.Bytes)
			*dst = &s
		}
		known := true
		switch kv.Type {
		case setupPath:
			text(&p.Path)
		case setupMaxRequestID:
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
		default:
			known = false // duplicates of unknown types are allowed (§9.2)
		}
		if again && known {
			r.fail(violation("setup parameter %#x twice", kv.Type))
		}
	}
	return p
}

func (w *writer) setup(p SetupParameters) {
	var kvs []KeyValue
	text := func(t uint64, s *string) {
		if s != nil {
			kvs = append(kvs, KeyValue{Type: t, Bytes: []byte(*s)})
		}
	}
	number := func(t uint64, v *uint64) {
		if v != nil {
			kvs = append(kvs, KeyValue{Type: t, Value: *v})
		}
	}
	text(setupPath, p.Path)
	number(setupMaxRequestID, p.MaxRequestID)
	for _, t := range p.Tokens {
		kvs = append(kvs, KeyValue{Type: setupAuthorizationToken, Bytes: t.Append(nil, w.v)})
	}
	number(setupMaxAuthTokenCache, p.MaxAuthTokenCacheSize)
	text(setupAuthority, p.Authority)
	text(setupImplementation, p.Implementation)
	w.varint(uint64(len(kvs)))
	w.keyValues(kvs)
}
