package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"every.channel/ec/lib/object"
)

func ptr[T any](v T) *T { return &v }

var (
	aTrack  = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}
	someKVs = []byte{0x04, 0x67, 0x10} // MAX_CACHE_DURATION 10000
	allOf   = Parameters{
		DeliveryTimeout:    5000,
		Tokens:             []Token{{AliasType: TokenRegister, Alias: 3, Type: 1, Value: []byte("secret")}, {AliasType: TokenDelete, Alias: 2}},
		Expires:            ptr(uint64(30)),
		LargestObject:      &Location{10, 3},
		Forward:            ptr(false),
		SubscriberPriority: ptr(uint8(7)),
		SubscriptionFilter: &Filter{Type: FilterAbsoluteRange, Start: Location{1, 2}, EndGroup: 3},
		GroupOrder:         GroupOrderDescending,
		NewGroupRequest:    ptr(uint64(0)),
		Unknown:            []KeyValue{{Type: 0x41, Bytes: []byte{1}}, {Type: 0x7ffe, Value: 9}},
	}
)

// everyMessage has each message once with every field set.
var everyMessage = []Message{
	&ClientSetup{SetupParameters{
		Path: ptr("/moq?x=1"), Authority: ptr("relay:4443"), MaxRequestID: ptr(uint64(100)), MaxAuthTokenCacheSize: ptr(uint64(0)),
		Tokens: []Token{{AliasType: TokenUseValue, Type: 0, Value: []byte{}}}, Implementation: ptr("every.channel"),
	}},
	&ServerSetup{SetupParameters{MaxRequestID: ptr(uint64(100))}},
	&GoAway{NewSessionURI: "moqt://elsewhere:443/"},
	&MaxRequestID{1 << 40},
	&RequestsBlocked{77},
	&RequestOK{RequestID: 1, Parameters: allOf},
	&RequestError{RequestID: 2, Code: RequestDoesNotExist, RetryInterval: 1001, Reason: "no such track"},
	&Subscribe{3, aTrack, allOf},
	&SubscribeOK{4, 5, allOf, someKVs},
	&RequestUpdate{6, 3, allOf},
	&Unsubscribe{7},
	&Publish{8, aTrack, 9, allOf, someKVs},
	&PublishOK{8, allOf},
	&PublishDone{8, DoneTrackEnded, MaxVarint, "done"},
	&Fetch{RequestID: 9, FetchType: FetchStandalone, Track: aTrack, Start: Location{1, 2}, End: Location{3, 0}, Parameters: allOf},
	&Fetch{RequestID: 9, FetchType: FetchRelativeJoining, JoiningRequestID: 3, JoiningStart: 2},
	&Fetch{RequestID: 9, FetchType: FetchAbsoluteJoining, JoiningRequestID: 3, JoiningStart: 200, Parameters: allOf},
	&FetchOK{9, true, Location{3, 4}, allOf, someKVs},
	&FetchCancel{9},
	&TrackStatus{Subscribe{10, aTrack, Parameters{}}},
	&PublishNamespace{11, aTrack.Namespace, allOf},
	&Namespace{object.Namespace{"2065"}},
	&Namespace{object.Namespace{}},
	&PublishNamespaceDone{11},
	&NamespaceDone{object.Namespace{"2065", "3"}},
	&PublishNamespaceCancel{11, RequestUnauthorized, "token expired"},
	&SubscribeNamespace{12, object.Namespace{}, SubscribeBoth, allOf},
	&SubscribeNamespace{12, object.Namespace{"ec"}, SubscribeNamespaces, Parameters{}},
}

func TestEveryMessageComesBack(t *testing.T) {
	for _, v := range Versions() {
		messagesComeBack(t, v, everyMessageOf[v])
	}
}

func messagesComeBack(t *testing.T, v Version, messages []Message) {
	seen := map[uint64]bool{}
	for _, m := range messages {
		seen[TypeIn(v, m)] = true
		b, err := AppendMessage([]byte("before"), v, m)
		if err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		b = b[len("before"):]
		typ, length, n, err := MessageHeader(b, v)
		if err != nil || typ != TypeIn(v, m) || n+length != len(b) {
			t.Errorf("%T: header %#x, %d+%d of %d, %v", m, typ, n, length, len(b), err)
			continue
		}
		got, err := ParseMessage(v, typ, b[n:])
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: %+v, %v; want %+v", m, got, err, m)
		}
		// Cut anywhere, and with a byte too many, it breaks the protocol.
		for i := n; i < len(b); i++ {
			if _, ok := m.(*RequestOK); ok && v == Draft16 && i == n+1 {
				continue // let pass for a peer that leaves the count of parameters out
			}
			if m2, err := ParseMessage(v, typ, b[n:i]); err == nil && !endsAnywhere(v, m) {
				t.Errorf("%T cut to %d bytes decodes to %+v", m, i-n, m2)
			}
		}
		if g, ok := m.(*GoAway); ok && v.Has(GoAwayNamesRequest) && g.RequestID == nil {
			continue // another byte is the request id
		}
		if _, err := ParseMessage(v, typ, append(bytes.Clone(b[n:]), 0)); Code(err) != ProtocolViolation || err == nil {
			t.Errorf("%T with a byte too many: %v", m, err)
		}
	}
	for typ := range drafts[v].messages {
		if !seen[typ] {
			t.Errorf("message %#x is not tested", typ)
		}
	}
}

// endsAnywhere: track properties run to the end of the message, so that a cut between two is not seen.
func endsAnywhere(v Version, m Message) bool {
	switch m.(type) {
	case *SubscribeOK, *Publish, *FetchOK:
		return true
	case *Setup, *RequestOK, *GoAway: // options, properties and the request id end the message
		return v != Draft16
	}
	return false
}

func TestMessagesRefused(t *testing.T) {
	name := func(b ...byte) []byte { return b }
	fields33 := append([]byte{33}, bytes.Repeat([]byte{1, 'a'}, 33)...)
	long := AppendVarint([]byte{1}, Draft16, 4097)
	for _, tt := range []struct {
		name    string
		typ     uint64
		payload []byte
		code    SessionCode
	}{
		{"namespace without fields", 0x06, name(1, 0, 0), ProtocolViolation},
		{"namespace of 33 fields", 0x06, append(append([]byte{1}, fields33...), 0), ProtocolViolation},
		{"prefix of 33 fields", 0x11, append(append([]byte{1}, fields33...), 0, 0), ProtocolViolation},
		{"empty namespace field", 0x06, name(1, 1, 0, 0), ProtocolViolation},
		{"field count 2^61", 0x06, AppendVarint(name(1), Draft16, 1<<61), ProtocolViolation},
		{"namespace over 4096 bytes", 0x06, append(name(1), append(long, make([]byte, 4097)...)...), ProtocolViolation},
		{"track name over what is left of 4096", 0x03, append(AppendVarint(append(AppendVarint(name(1, 1), Draft16, 4000), bytes.Repeat([]byte("a"), 4000)...), Draft16, 97), make([]byte, 98)...), ProtocolViolation},
		{"reason over 1024 bytes", 0x05, append(AppendVarint(name(1, 0, 0), Draft16, 1025), make([]byte, 1025)...), ProtocolViolation},
		{"URI over 8192 bytes", 0x10, append(AppendVarint(nil, Draft16, 8193), make([]byte, 8193)...), ProtocolViolation},
		{"filter type 5", 0x02, name(2, 0, 1, 0x21, 1, 5), ProtocolViolation},
		{"filter longer than its length says", 0x02, name(2, 0, 1, 0x21, 1, 3, 0, 0), ProtocolViolation},
		{"filter that ends before it starts", 0x02, name(2, 0, 1, 0x21, 4, 4, 5, 0, 4), ProtocolViolation},
		{"fetch type 4", 0x16, name(2, 4, 0, 0, 0), ProtocolViolation},
		{"subscribe options 3", 0x11, name(1, 0, 3, 0), ProtocolViolation},
		{"forward 2", 0x02, name(2, 0, 1, 0x10, 2), ProtocolViolation},
		{"group order 3", 0x02, name(2, 0, 1, 0x22, 3), ProtocolViolation},
		{"subscriber priority 256", 0x02, name(2, 0, 1, 0x20, 0x41, 0), ProtocolViolation},
		{"delivery timeout 0", 0x02, name(2, 0, 1, 0x02, 0), ProtocolViolation},
		{"forward twice", 0x02, name(2, 0, 2, 0x10, 1, 0, 1), ProtocolViolation},
		{"path twice", 0x20, name(2, 1, 1, '/', 0, 1, '/'), ProtocolViolation},
		{"token alias type 4", 0x02, name(2, 0, 1, 3, 1, 4), KeyValueFormattingError},
		{"empty token", 0x02, name(2, 0, 1, 3, 0), KeyValueFormattingError},
		{"token with bytes after its alias", 0x02, name(2, 0, 1, 3, 3, 0, 1, 1), KeyValueFormattingError},
		{"largest object too short", 0x07, name(1, 1, 9, 1, 5), KeyValueFormattingError},
		{"end of track 2", 0x18, name(2, 2, 0, 0, 0), ProtocolViolation},
		{"parameter count 2^61", 0x07, AppendVarint(name(1), Draft16, 1<<61), ProtocolViolation},
		{"unknown message", 0x3f, nil, ProtocolViolation},
	} {
		_, err := ParseMessage(Draft16, tt.typ, tt.payload)
		if err == nil || Code(err) != tt.code {
			t.Errorf("%s: %v, closes with %v, want %v", tt.name, err, Code(err), tt.code)
		}
	}
	if m, err := ParseMessage(Draft16, 0x20, []byte{3, 0x40, 99, 1, 'x', 0, 1, 'y', 1, 0x00}); err != nil {
		t.Errorf("unknown setup parameters twice must be skipped: %v, %v", m, err)
	}
}

func TestValuesNotSent(t *testing.T) {
	for _, m := range []Message{
		&Subscribe{Track: object.TrackName{Name: "x"}},
		&Subscribe{Track: object.TrackName{Namespace: object.Namespace{""}}},
		&Subscribe{Track: object.TrackName{Namespace: object.Namespace{"a"}, Name: strings.Repeat("x", 4096)}},
		&PublishNamespace{Namespace: make(object.Namespace, 33)},
		&GoAway{NewSessionURI: strings.Repeat("x", 8193)},
		&Unsubscribe{MaxVarint + 1},
		&Fetch{},
		&SubscribeOK{Properties: []byte{1}},
		&RequestOK{Parameters: Parameters{Tokens: []Token{{Value: make([]byte, 65000)}, {Value: make([]byte, 65000)}, {AliasType: TokenUseValue, Value: make([]byte, 65536)}}}},
	} {
		b, err := AppendMessage([]byte("kept"), Draft16, m)
		if err == nil || string(b) != "kept" {
			t.Errorf("%T %+v was encoded: %v", m, m, err)
		}
	}
	m := &RequestError{Reason: strings.Repeat("ä", 600)} // 1,200 bytes: cut, not refused
	b, err := AppendMessage(nil, Draft16, m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseMessage(Draft16, 5, b[3:])
	if err != nil || got.(*RequestError).Reason != strings.Repeat("ä", 512) {
		t.Errorf("long reason: %v", err)
	}
}

// FuzzMessage: no payload makes a decoder panic, and what decodes encodes to something that decodes to the same.
func FuzzMessage(f *testing.F) {
	for v, messages := range everyMessageOf {
		for _, m := range messages {
			b, err := AppendMessage(nil, v, m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range Versions() {
			fuzzMessage(t, v, b)
		}
	})
}

func fuzzMessage(t *testing.T, v Version, b []byte) {
	typ, length, n, err := MessageHeader(b, v)
	if err != nil || n == 0 || len(b) < n+length {
		return
	}
	m, err := ParseMessage(v, typ, b[n:n+length])
	if err != nil {
		if Code(err) == InternalError && !errors.Is(err, ErrLimit) {
			t.Fatalf("error without a code: %v", err)
		}
		return
	}
	again, err := AppendMessage(nil, v, m)
	if err != nil {
		if errors.Is(err, ErrValue) {
			return
		}
		t.Fatal(err)
	}
	_, _, n, _ = MessageHeader(again, v)
	m2, err := ParseMessage(v, typ, again[n:])
	if err != nil || !reflect.DeepEqual(m, m2) {
		t.Fatalf("%+v became %+v (%v)", m, m2, err)
	}
}
