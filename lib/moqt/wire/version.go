package wire

import "math"

// Version names a draft of draft-ietf-moq-transport. The zero value is no version.
type Version uint8

// Drafts this package can encode and decode.
const (
	Draft16 Version = 16
	Draft18 Version = 18
	Draft20 Version = 20
	Draft22 Version = 22
)

// draft is one row of the table of drafts: everything that selects a codec.
type draft struct {
	alpn       string                    // ALPN and WebTransport protocol, §3.1
	varint     varintCodec               // RFC 9000 §16, or the draft's own from 17 on
	messages   map[uint64]func() Message // by message type, §9
	renumbered map[uint64]uint64         // message types whose number is not that of Message.Type

	// requestStreams: each request has a bidirectional stream of its own, on which answers need no request id, and control
	// messages travel on a pair of unidirectional streams (from 17 on).
	requestStreams bool
	// typedParameters: the value of a message parameter is written by its type, not as a key-value-pair (from 17 on), and
	// must be in a message it was defined for.
	typedParameters map[uint64]parameterForm
	// minFields is the smallest number of fields of a namespace.
	minFields int
	// subgroupTypes has the bits a subgroup stream's type may have.
	subgroupTypes uint64
	// deltaFetch: group and object ids of a fetch stream are deltas (from 18 on).
	deltaFetch bool
	// filters is how a location filter is written.
	filters filterCodec
	// filterFetch: FETCH says its range with a location filter, and FETCH_OK the last object (from 20 on), not the one after it.
	filterFetch bool
	// timedOutRanges: fetch streams have a third end of range (from 20 on).
	timedOutRanges bool
	// rangeFilters and the limits of setup that came with them exist (from 19 on).
	rangeFilters bool
	// uncounted is the stream count of a PUBLISH_DONE that does not tell.
	uncounted uint64
	// setupType is the type of the unidirectional stream and the message a session begins with; 0: there is none.
	setupType uint64
	// padding streams and datagrams exist.
	padding  bool
	rules    ruleSet     // that its sessions keep
	requests codeNumbers // of RequestCode
	done     codeNumbers // of DoneCode
	resets   codeNumbers // of ResetCode
}

// drafts is the one table a new draft is added to.
var drafts = [256]*draft{
	Draft16: {
		alpn:          "moqt-16",
		varint:        quicVarint{},
		messages:      messages16,
		minFields:     1,
		subgroupTypes: 0x3f,
		filters:       taggedFilter{},
		uncounted:     MaxVarint,
		rules:         setOf(JoinLargestObject, OneSubscription, AnswerShapes, FINEnds),
		done:          done16,
		resets:        resets16,
	},
	Draft18: {
		alpn:            "moqt-18",
		varint:          vi64{},
		messages:        messages18,
		renumbered:      map[uint64]uint64{0x11: 0x50}, // SUBSCRIBE_NAMESPACE
		requestStreams:  true,
		typedParameters: parameters18,
		subgroupTypes:   0x7f,
		deltaFetch:      true,
		filters:         taggedFilter{delta: true},
		uncounted:       MaxVarint,
		setupType:       0x2f00,
		padding:         true,
		rules: setOf(OwnStreams, JoinWaits, JoinForwarding, JoinPublished, JoinResumed, SessionTracks, GoAwayNamesRequest, ListingUpdates, TracksApart,
			OneSubscription, AnswerShapes, FINEnds),
		done:   done18,
		resets: resets18,
	},
	Draft20: &draft20,
	Draft22: draft20.with("moqt-22", parameters22, typedFilter{}),
}

var draft20 = draft{
	alpn:            "moqt-20",
	varint:          vi64{},
	messages:        messages20,
	renumbered:      map[uint64]uint64{0x11: 0x50},
	requestStreams:  true,
	typedParameters: parameters20,
	subgroupTypes:   0x7f,
	deltaFetch:      true,
	filters:         countedFilter{},
	filterFetch:     true,
	timedOutRanges:  true,
	rangeFilters:    true,
	uncounted:       math.MaxUint64,
	setupType:       0x2f00,
	padding:         true,
	rules:           setOf(OwnStreams, SessionTracks, ListingUpdates, TracksApart, Fills, ObjectTimeouts),
	requests:        requests20,
	done:            done20,
	resets:          resets18,
}

// with is a draft that differs in its name and in how location filters are written.
func (d draft) with(alpn string, parameters map[uint64]parameterForm, filters filterCodec) *draft {
	d.alpn, d.typedParameters, d.filters = alpn, parameters, filters
	return &d
}

// Versions lists the drafts sessions speak, newest first: the order in which they are offered to a peer.
func Versions() []Version { return []Version{Draft22, Draft20, Draft18, Draft16} }

// Known reports whether v is in the table. Every other function of this package needs a known version.
func (v Version) Known() bool { return drafts[v] != nil }

// RequestStreams reports whether each request of the draft has a bidirectional stream of its own.
func (v Version) RequestStreams() bool { return drafts[v].requestStreams }

// SetupStream is the type of the unidirectional stream that carries a side's control messages, 0 if the draft has a
// bidirectional control stream.
func (v Version) SetupStream() uint64 { return drafts[v].setupType }

// MaxInteger is the largest integer the draft can write.
func (v Version) MaxInteger() uint64 { return drafts[v].varint.max() }

// CheckIDs refuses ids that the draft cannot write.
func CheckIDs(v Version, ids ...uint64) error {
	for _, id := range ids {
		if id > v.MaxInteger() {
			return ErrValue
		}
	}
	return nil
}

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
