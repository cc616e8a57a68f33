package wire

import "fmt"

// SessionCode says why a session is closed (§3.4, §14.4.1). It is the application error code of
// CONNECTION_CLOSE and of CLOSE_WEBTRANSPORT_SESSION.
type SessionCode uint64

// Session termination codes.
const (
	NoError                  SessionCode = 0x0
	InternalError            SessionCode = 0x1
	Unauthorized             SessionCode = 0x2
	ProtocolViolation        SessionCode = 0x3
	InvalidRequestID         SessionCode = 0x4
	DuplicateTrackAlias      SessionCode = 0x5
	KeyValueFormattingError  SessionCode = 0x6
	TooManyRequests          SessionCode = 0x7
	InvalidPath              SessionCode = 0x8
	MalformedPath            SessionCode = 0x9
	GoAwayTimeout            SessionCode = 0x10
	ControlMessageTimeout    SessionCode = 0x11
	DataStreamTimeout        SessionCode = 0x12
	AuthTokenCacheOverflow   SessionCode = 0x13
	DuplicateAuthTokenAlias  SessionCode = 0x14
	VersionNegotiationFailed SessionCode = 0x15
	MalformedAuthToken       SessionCode = 0x16
	UnknownAuthTokenAlias    SessionCode = 0x17
	ExpiredAuthToken         SessionCode = 0x18
	InvalidAuthority         SessionCode = 0x19
	MalformedAuthority       SessionCode = 0x1a
	TooManyRequestUpdates    SessionCode = 0x1b // from draft 19 on
)

var sessionNames = map[SessionCode]string{
	NoError: "NO_ERROR", InternalError: "INTERNAL_ERROR", Unauthorized: "UNAUTHORIZED",
	ProtocolViolation: "PROTOCOL_VIOLATION", InvalidRequestID: "INVALID_REQUEST_ID",
	DuplicateTrackAlias: "DUPLICATE_TRACK_ALIAS", KeyValueFormattingError: "KEY_VALUE_FORMATTING_ERROR",
	TooManyRequests: "TOO_MANY_REQUESTS", InvalidPath: "INVALID_PATH", MalformedPath: "MALFORMED_PATH",
	GoAwayTimeout: "GOAWAY_TIMEOUT", ControlMessageTimeout: "CONTROL_MESSAGE_TIMEOUT",
	DataStreamTimeout: "DATA_STREAM_TIMEOUT", AuthTokenCacheOverflow: "AUTH_TOKEN_CACHE_OVERFLOW",
	DuplicateAuthTokenAlias: "DUPLICATE_AUTH_TOKEN_ALIAS", VersionNegotiationFailed: "VERSION_NEGOTIATION_FAILED",
	MalformedAuthToken: "MALFORMED_AUTH_TOKEN", UnknownAuthTokenAlias: "UNKNOWN_AUTH_TOKEN_ALIAS",
	ExpiredAuthToken: "EXPIRED_AUTH_TOKEN", InvalidAuthority: "INVALID_AUTHORITY", MalformedAuthority: "MALFORMED_AUTHORITY",
	TooManyRequestUpdates: "TOO_MANY_REQUEST_UPDATES",
}

// String returns the draft's name of the code.
func (c SessionCode) String() string { return codeName(sessionNames, c) }

// RequestCode says why a request was refused in REQUEST_ERROR or PUBLISH_NAMESPACE_CANCEL (§9.8, §14.4.2).
type RequestCode uint64

// REQUEST_ERROR codes.
const (
	RequestInternalError           RequestCode = 0x0
	RequestUnauthorized            RequestCode = 0x1
	RequestTimeout                 RequestCode = 0x2
	RequestNotSupported            RequestCode = 0x3
	RequestMalformedAuthToken      RequestCode = 0x4
	RequestExpiredAuthToken        RequestCode = 0x5
	RequestDoesNotExist            RequestCode = 0x10
	RequestInvalidRange            RequestCode = 0x11
	RequestMalformedTrack          RequestCode = 0x12
	RequestDuplicateSubscription   RequestCode = 0x19
	RequestUninterested            RequestCode = 0x20
	RequestPrefixOverlap           RequestCode = 0x30
	RequestInvalidJoiningRequestID RequestCode = 0x32

	// From draft 18 on. Draft 16 does not know them, and its peers must take any code.
	RequestGoingAway            RequestCode = 0x6
	RequestExcessiveLoad        RequestCode = 0x9
	RequestNamespaceTooLarge    RequestCode = 0x31
	RequestUnsupportedExtension RequestCode = 0x33
	RequestRedirect             RequestCode = 0x34

	// From draft 19 on.
	RequestConflictingFilters RequestCode = 0x35
	RequestInvalidFilter      RequestCode = 0x36
)

var requestNames = map[RequestCode]string{
	RequestInternalError: "INTERNAL_ERROR", RequestUnauthorized: "UNAUTHORIZED", RequestTimeout: "TIMEOUT",
	RequestNotSupported: "NOT_SUPPORTED", RequestMalformedAuthToken: "MALFORMED_AUTH_TOKEN",
	RequestExpiredAuthToken: "EXPIRED_AUTH_TOKEN", RequestDoesNotExist: "DOES_NOT_EXIST",
	RequestInvalidRange: "INVALID_RANGE", RequestMalformedTrack: "MALFORMED_TRACK",
	RequestDuplicateSubscription: "DUPLICATE_SUBSCRIPTION", RequestUninterested: "UNINTERESTED",
	RequestPrefixOverlap: "PREFIX_OVERLAP", RequestInvalidJoiningRequestID: "INVALID_JOINING_REQUEST_ID",
	RequestGoingAway: "GOING_AWAY", RequestExcessiveLoad: "EXCESSIVE_LOAD", RequestNamespaceTooLarge: "NAMESPACE_TOO_LARGE",
	RequestUnsupportedExtension: "UNSUPPORTED_EXTENSION", RequestRedirect: "REDIRECT",
	RequestConflictingFilters: "CONFLICTING_FILTERS", RequestInvalidFilter: "INVALID_FILTER",
}

// String returns the draft's name of the code.
func (c RequestCode) String() string { return codeName(requestNames, c) }

// DoneCode says in PUBLISH_DONE why a subscription ended (§9.15, §14.4.3). The values are those of draft 16, and those of later
// drafts plus 0x1800 where they are new; PublishDone writes the number the draft in use has for them.
type DoneCode uint64

// PUBLISH_DONE codes.
const (
	DoneInternalError     DoneCode = 0x0
	DoneUnauthorized      DoneCode = 0x1
	DoneTrackEnded        DoneCode = 0x2
	DoneSubscriptionEnded DoneCode = 0x3
	DoneGoingAway         DoneCode = 0x4
	DoneExpired           DoneCode = 0x5
	DoneTooFarBehind      DoneCode = 0x6
	DoneUpdateFailed      DoneCode = 0x8
	DoneMalformedTrack    DoneCode = 0x12
	DoneExcessiveLoad     DoneCode = 0x1809 // from draft 18 on; TOO_FAR_BEHIND before
)

var doneNames = map[DoneCode]string{
	DoneInternalError: "INTERNAL_ERROR", DoneUnauthorized: "UNAUTHORIZED", DoneTrackEnded: "TRACK_ENDED",
	DoneSubscriptionEnded: "SUBSCRIPTION_ENDED", DoneGoingAway: "GOING_AWAY", DoneExpired: "EXPIRED",
	DoneTooFarBehind: "TOO_FAR_BEHIND", DoneUpdateFailed: "UPDATE_FAILED", DoneMalformedTrack: "MALFORMED_TRACK",
	DoneExcessiveLoad: "EXCESSIVE_LOAD",
}

// String returns the draft's name of the code.
func (c DoneCode) String() string { return codeName(doneNames, c) }

// ResetCode is the application error code of RESET_STREAM and STOP_SENDING on a data stream (§10.4.3, §14.4.4), from draft 18
// on also on that of a request. The values are those of draft 16, and those of later drafts plus 0x1800 where they are new;
// Wire and ResetCodeOf translate them.
type ResetCode uint64

// Data stream reset codes.
const (
	ResetInternalError       ResetCode = 0x0
	ResetCancelled           ResetCode = 0x1
	ResetDeliveryTimeout     ResetCode = 0x2
	ResetSessionClosed       ResetCode = 0x3
	ResetUnknownObjectStatus ResetCode = 0x4
	ResetMalformedTrack      ResetCode = 0x12

	ResetGoingAway        ResetCode = 0x1804
	ResetTooFarBehind     ResetCode = 0x1805
	ResetExpiredAuthToken ResetCode = 0x1807
	ResetExcessiveLoad    ResetCode = 0x1809
)

var resetNames = map[ResetCode]string{
	ResetInternalError: "INTERNAL_ERROR", ResetCancelled: "CANCELLED", ResetDeliveryTimeout: "DELIVERY_TIMEOUT",
	ResetSessionClosed: "SESSION_CLOSED", ResetUnknownObjectStatus: "UNKNOWN_OBJECT_STATUS", ResetMalformedTrack: "MALFORMED_TRACK",
	ResetGoingAway: "GOING_AWAY", ResetTooFarBehind: "TOO_FAR_BEHIND", ResetExpiredAuthToken: "EXPIRED_AUTH_TOKEN",
	ResetExcessiveLoad: "EXCESSIVE_LOAD",
}

// String returns the draft's name of the code.
func (c ResetCode) String() string { return codeName(resetNames, c) }

// codeNumbers are the numbers of a draft for codes.
type codeNumbers struct {
	own     map[uint64]uint64 // of codes whose number differs between drafts
	instead map[uint64]uint64 // for codes that it lacks: that of the code next to them
}

var (
	done16   = codeNumbers{instead: map[uint64]uint64{uint64(DoneExcessiveLoad): uint64(DoneTooFarBehind)}}
	done18   = codeNumbers{own: done18Own}
	done20   = codeNumbers{own: done18Own, instead: map[uint64]uint64{uint64(DoneSubscriptionEnded): 0x6}} // EXPIRED
	resets16 = codeNumbers{instead: map[uint64]uint64{
		uint64(ResetGoingAway): uint64(ResetCancelled), uint64(ResetTooFarBehind): uint64(ResetDeliveryTimeout),
		uint64(ResetExpiredAuthToken): uint64(ResetCancelled), uint64(ResetExcessiveLoad): uint64(ResetCancelled),
	}}
	resets18 = codeNumbers{own: map[uint64]uint64{
		uint64(ResetUnknownObjectStatus): 0x6, uint64(ResetGoingAway): 0x4, uint64(ResetTooFarBehind): 0x5,
		uint64(ResetExpiredAuthToken): 0x7, uint64(ResetExcessiveLoad): 0x9,
	}}
	requests20 = codeNumbers{instead: map[uint64]uint64{
		uint64(RequestDuplicateSubscription): uint64(RequestUninterested), uint64(RequestInvalidJoiningRequestID): uint64(RequestDoesNotExist),
	}}
)

var done18Own = map[uint64]uint64{uint64(DoneExpired): 0x6, uint64(DoneTooFarBehind): 0x5, uint64(DoneExcessiveLoad): 0x9}

func (n codeNumbers) number(code uint64) uint64 {
	if x, ok := n.own[code]; ok {
		return x
	}
	if x, ok := n.instead[code]; ok {
		return x
	}
	return code
}

// code finds the code of a number. One that is no code's stands for itself, unless another draft has a code of that number: then it is
// INTERNAL_ERROR, as which any unknown code counts.
func (n codeNumbers) code(number uint64) uint64 {
	if _, other := n.instead[number]; other {
		return 0
	}
	for code, x := range n.own {
		if x == number {
			return code
		}
	}
	return number
}

// Wire is the number of c in a draft.
func (c ResetCode) Wire(v Version) uint64 { return drafts[v].resets.number(uint64(c)) }

// ResetCodeOf is the code a number stands for in a draft.
func ResetCodeOf(v Version, number uint64) ResetCode {
	return ResetCode(drafts[v].resets.code(number))
}

func codeName[C ~uint64](names map[C]string, c C) string {
	if s, ok := names[c]; ok {
		return s
	}
	return fmt.Sprintf("%#x", uint64(c))
}
