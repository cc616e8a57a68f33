package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"every.channel/ec/lib/object"
)

// golden compares messages with bytes, both ways.
func golden(t *testing.T, v Version, list []goldenMessage) {
	for _, tt := range list {
		want := unhex(tt.hex)
		b, err := AppendMessage(nil, v, tt.m)
		if err != nil || !bytes.Equal(b, want) {
			t.Errorf("%T %+v encodes to %x, want %x (%v)", tt.m, tt.m, b, want, err)
			continue
		}
		typ, _, n, err := MessageHeader(want, v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseMessage(v, typ, want[n:]); err != nil || !reflect.DeepEqual(got, tt.m) {
			t.Errorf("%x decodes to %+v, want %+v (%v)", want, got, tt.m, err)
		}
	}
}

type goldenMessage struct {
	hex string
	m   Message
}

// refusedMessage is a payload that closes the session.
type refusedMessage struct {
	name, hex string
	typ       uint64
}

func refusedAll(t *testing.T, v Version, list []refusedMessage) {
	for _, tt := range list {
		if m, err := ParseMessage(v, tt.typ, unhex(tt.hex)); err == nil || Code(err) != ProtocolViolation {
			t.Errorf("%s: %+v, %v", tt.name, m, err)
		}
	}
}

var live = object.TrackName{Namespace: object.Namespace{"live"}, Name: "v"}

// TestGolden20 are own vectors, written by hand from the text of draft 20: what differs from draft 18.
func TestGolden20(t *testing.T) {
	joined := Parameters{
		SubscriptionFilter: &Filter{Type: FilterLargestObject},
		Fill:               &Parameters{SubscriptionFilter: &Filter{Type: FilterRelativeStart, Groups: 1}},
	}
	golden(t, Draft20, []goldenMessage{
		{"af00 0004 06 10 02 01", &Setup{SetupParameters{MaxFilterRanges: ptr(uint64(16)), MaxRequestUpdates: ptr(uint64(1))}}},
		{"10 0003 00 9388", &GoAway{Timeout: 5000}},
		{"22 0006 02 09 0a03 07 00", &PublishStateNotify{Parameters{LargestObject: &Location{10, 3}, Forward: ptr(false)}}},
		{"0b 000b 02 ffffffffffffffffff 00", &PublishDone{Code: DoneTrackEnded, StreamCount: MaxVarint}},
		{"0d 000c 02 01 04 6c697665 01 76 01 35 00", &TrackStatus{Subscribe{2, live, Parameters{IncludeProperties: ptr(false)}}}},
		// The join at the current group of draft-20 §5.1.6.
		{"03 0014 02 01 04 6c697665 01 76 02 21 02 0000 02 04 01 21 01 01", &Subscribe{2, live, joined}},
		{"03 000d 02 01 04 6c697665 01 76 01 23 01 00", &Subscribe{2, live, Parameters{Fill: &Parameters{}}}},
		{"02 0004 04 01 21 00", &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &Filter{}}}},
		{"02 0005 04 01 21 01 00", &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterNextGroupStart}}}},
		{"02 0006 04 01 21 02 8080", &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterRelativeStart, Groups: 128}}}},
		{"02 0006 04 01 21 02 07 03", &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterAbsoluteStart, Start: Location{7, 3}}}}},
		{"02 000f 04 01 21 0b 00 00 ffffffffffffffffff", &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterAbsoluteStart}}}},
		{"02 0007 04 01 21 03 07 03 02", &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterAbsoluteRange, Start: Location{7, 3}, EndGroup: 9}}}},
		{"02 0008 04 01 21 04 07 03 02 00", &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterObjectRange, Start: Location{7, 3}, EndGroup: 9}}}},
		// The ranges 3 to 5 and 10 to 15 of draft-19 §5.1.3.
		{"02 0009 04 01 25 05 00 03 02 05 05", &RequestUpdate{RequestID: 4, Parameters: Parameters{RangeFilters: []KeyValue{{Type: 0x25, Bytes: []byte{0, 3, 2, 5, 5}}}}}},
		{"16 000a 02 01 04 6c697665 01 76 00", &Fetch{RequestID: 2, FetchType: FetchStandalone, Track: live, End: FetchOpenEnd}},
		{"16 000f 02 01 04 6c697665 01 76 01 21 03 00 00 0a", &Fetch{RequestID: 2, FetchType: FetchStandalone, Track: live, End: Location{10, 0}}},
		{"16 0010 02 01 04 6c697665 01 76 01 21 04 01 02 03 00", &Fetch{RequestID: 2, FetchType: FetchStandalone, Track: live, Start: Location{1, 2}, End: Location{4, 1}}},
		{"16 000e 02 01 04 6c697665 01 76 01 21 02 01 02", &Fetch{RequestID: 2, FetchType: FetchStandalone, Track: live, Start: Location{1, 2}, End: FetchOpenEnd}},
		{"16 000d 02 01 04 6c697665 01 76 01 21 01 02", &Fetch{RequestID: 2, FetchType: FetchRelative, Track: live, Groups: 2}},
		{"18 0004 00 03 00 00", &FetchOK{End: Location{3, 1}}},
		{"18 000c 00 03 ffffffffffffffffff 00", &FetchOK{End: Location{3, 0}}}, // with the whole group
		{"05 0003 36 00 00", &RequestError{Code: RequestInvalidFilter}},
	})
	// What has another form of its own comes back as that.
	for _, tt := range []struct {
		v    Version
		f    Filter
		want Filter
	}{
		{Draft20, Filter{Type: FilterRelativeStart}, Filter{Type: FilterNextGroupStart}},
	} {
		b, err := AppendMessage(nil, tt.v, &RequestUpdate{Parameters: Parameters{SubscriptionFilter: &tt.f}})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := ParseMessage(tt.v, 2, b[3:]); err != nil || *m.(*RequestUpdate).Parameters.SubscriptionFilter != tt.want {
			t.Errorf("%v in %v: %+v, %v", tt.f, tt.v, m, err)
		}
	}
}

// TestRefused20: what draft 20 wants a session closed for, and what it cannot say.
func TestRefused20(t *testing.T) {
	refusedAll(t, Draft20, []refusedMessage{
		{"PUBLISH_OK by its old number", "00", 0x1e},
		{"GOAWAY with a request id", "00 00 01", 0x10},
		{"filter of five fields", "04 01 21 05 01 01 01 01 01", 0x02},
		{"filter cut inside a field", "04 01 21 02 01 80", 0x02},
		{"filter end over 2^64", "04 01 21 0b 01 00 ffffffffffffffffff", 0x02},
		{"filter in SUBSCRIBE_OK", "07 01 21 01 00", 0x04},
		{"fill in FETCH", "02 01 01 61 01 76 01 23 01 00", 0x16},
		{"fill in a fill", "04 01 23 04 01 23 01 00", 0x02},
		{"forward in a fill", "04 01 23 03 01 10 01", 0x02},
		{"track filter in a fill", "04 01 23 04 01 29 01 00", 0x02},
		{"filter twice in a fill", "04 01 23 07 02 21 01 01 00 01 01", 0x02},
		{"bytes after the parameters of a fill", "04 01 23 02 00 00", 0x02},
		{"fill without a count", "04 01 23 00", 0x02},
		{"fill with a count of 2^64-1", "04 01 23 09 ffffffffffffffffff", 0x02},
		{"fill longer than the message", "04 01 23 04 00", 0x02},
		{"fill twice", "04 02 23 01 00 00 01 00", 0x02},
		{"include properties 2", "02 01 01 61 01 76 01 35 02", 0x03},
		{"include properties in REQUEST_UPDATE", "04 01 35 01", 0x02},
		{"forward in REQUEST_OK", "01 10 01", 0x07},
		{"filter of tracks in SUBSCRIBE", "02 01 01 61 01 76 01 29 01 00", 0x03},
		{"range filter in PUBLISH", "02 01 01 61 01 76 07 01 25 01 00", 0x1d},
		{"parameter in FETCH_OK", "00 03 00 01 08 1e", 0x18},
		{"largest object cut", "01 09 05", 0x22},
		{"max filter ranges twice", "06 01 00 01", 0x2f00},
	})
	for _, tt := range []struct {
		v Version
		m Message
	}{
		{Draft20, &Fetch{FetchType: FetchRelativeJoining}},
		{Draft20, &Fetch{FetchType: FetchStandalone, Start: Location{2, 0}, End: Location{1, 0}}},
		{Draft20, &GoAway{RequestID: ptr(uint64(0))}},
		{Draft20, &PublishOK{}},
		{Draft20, &RequestUpdate{Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterObjectRange, Start: Location{2, 0}, EndGroup: 1}}}},
		{Draft20, &RequestUpdate{Parameters: Parameters{Fill: &Parameters{Forward: ptr(true)}}}},
		{Draft18, &RequestUpdate{Parameters: Parameters{Fill: &Parameters{}}}},
		{Draft18, &RequestUpdate{Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterRelativeStart, Groups: 1}}}},
		{Draft18, &PublishStateNotify{}},
		{Draft18, &Fetch{FetchType: FetchRelative}},
		{Draft16, &RequestUpdate{Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterObjectRange}}}},
	} {
		if b, err := AppendMessage(nil, tt.v, tt.m); !errors.Is(err, ErrValue) {
			t.Errorf("%T %+v was encoded in %v to %x: %v", tt.m, tt.m, tt.v, b, err)
		}
	}
	if m, err := ParseMessage(Draft18, 0x2f00, unhex("06 10 00 11 02 01")); err != nil || m.(*Setup).Parameters.MaxFilterRanges != nil {
		t.Errorf("options that draft 18 does not have: %+v, %v", m, err)
	}
}

// TestTimedOutRange: draft 20 tells what was not had in time from what is not known.
func TestTimedOutRange(t *testing.T) {
	for _, v := range Versions() {
		want := uint64(FetchEndOfUnknown)
		if v >= Draft20 {
			want = FetchEndOfTimedOut
		}
		var write FetchState
		b, err := write.Append(nil, v, FetchObject{Flags: FetchEndOfTimedOut, Group: 7, ID: 3})
		if err != nil {
			t.Fatal(err)
		}
		if o, n, err := ParseFetchObject(b, v, 0); err != nil || n != len(b) || o.Flags != want || o.Group != 7 || o.ID != 3 {
			t.Errorf("%v: %+v, %v", v, o, err)
		}
		raw := append(AppendVarint(nil, v, FetchEndOfTimedOut), 7, 3)
		if _, _, err := ParseFetchObject(raw, v, 0); (err == nil) != (want == FetchEndOfTimedOut) {
			t.Errorf("%v reads it: %v", v, err)
		}
	}
}

// TestCodes20: what a draft has no number for is written as what comes next to it, and nothing is read as that.
func TestCodes20(t *testing.T) {
	for _, tt := range []struct {
		v          Version
		code, want RequestCode
	}{
		{Draft18, RequestDuplicateSubscription, RequestDuplicateSubscription},
		{Draft20, RequestDuplicateSubscription, RequestUninterested},
		{Draft20, RequestInvalidJoiningRequestID, RequestDoesNotExist},
	} {
		b, _ := AppendMessage(nil, tt.v, &RequestError{Code: tt.code})
		if m, err := ParseMessage(tt.v, 5, b[3:]); err != nil || m.(*RequestError).Code != tt.want {
			t.Errorf("%v in %v: %+v, %v", tt.code, tt.v, m, err)
		}
	}
	b, _ := AppendMessage(nil, Draft20, &PublishDone{Code: DoneSubscriptionEnded})
	if m, err := ParseMessage(Draft20, 0xb, b[3:]); err != nil || m.(*PublishDone).Code != DoneExpired {
		t.Errorf("SUBSCRIPTION_ENDED: %+v, %v", m, err)
	}
	if m, err := ParseMessage(Draft20, 0xb, unhex("03 01 00")); err != nil || m.(*PublishDone).Code != DoneInternalError {
		t.Errorf("a number of draft 18: %+v, %v", m, err)
	}
}
