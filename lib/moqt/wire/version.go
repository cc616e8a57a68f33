package wire

// Version names a draft of draft-ietf-moq-transport. The zero value is no version.
type Version uint8

// Drafts this package can speak.
const (
	Draft16 Version = 16
)

// draft is one row of the table of drafts: everything that selects a codec.
type draft struct {
	alpn     string                    // ALPN and WebTransport protocol, §3.1
	varint   varintCodec               // RFC 9000 §16, or the draft's own from 17 on
	messages map[uint64]func() Message // by message type, §9
}

// drafts is the one table a new draft is added to.
var drafts = [256]*draft{
	Draft16: {
		alpn:     "moqt-16",
		varint:   quicVarint{},
		messages: messages16,
	},
}

// Versions lists the drafts spoken, newest first: the order in which they are offered to a peer.
func Versions() []Version { return []Version{Draft16} }

// Known reports whether v is in the table. Every other function of this package needs a known version.
func (v Version) Known() bool { return drafts[v] != nil }

// ALPN returns the protocol name of v in TLS and WebTransport, "" for an unknown version.
func (v Version) ALPN() string {
	if d := drafts[v]; d != nil {
		return d.alpn
	}
	return ""
}

// VersionByALPN returns the draft a peer selected, or false for a name not in the table.
func VersionByALPN(alpn string) (Version, bool) {
	for _, v := range Versions() {
		if drafts[v].alpn == alpn {
			return v, true
		}
	}
	return 0, false
}

// String returns the ALPN name.
func (v Version) String() string {
	if s := v.ALPN(); s != "" {
		return s
	}
	return "moqt-unknown"
}
