package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"every.channel/ec/lib/object"
)

// TestVarint18 has the examples of draft-18 §1.4.1 and the edges of every length.
func TestVarint18(t *testing.T) {
	for _, tt := range []struct {
		hex       string
		value     uint64
		canonical bool
	}{
		{"25", 37, true}, {"8025", 37, false}, {"bbbd", 15_293, true}, {"ed7f3e7d", 226_442_877, true},
		{"faa1a0e403d8", 2_893_212_287_960, true}, {"fc8998abc66bc0", 151_288_809_941_952, true},
		{"fefa318fa8e3ca11", 70_423_237_261_249_041, true}, {"ffffffffffffffffff", 1<<64 - 1, true},
		{"7f", 127, true}, {"8080", 128, true}, {"bfff", 16_383, true}, {"c04000", 16_384, true}, {"dfffff", 1<<21 - 1, true},
		{"e0200000", 1 << 21, true}, {"f010000000", 1 << 28, true}, {"f80800000000", 1 << 35, true},
		{"fc040000000000", 1 << 42, true}, {"fe02000000000000", 1 << 49, true}, {"ff0100000000000000", 1 << 56, true},
		{"ff0000000000000000", 0, false},
	} {
		b, _ := hex.DecodeString(tt.hex)
		if v, n := Varint(b, Draft18); v != tt.value || n != len(b) {
			t.Errorf("%s decodes to %d in %d bytes, want %d", tt.hex, v, n, tt.value)
		}
		if enc := AppendVarint(nil, Draft18, tt.value); tt.canonical != (hex.EncodeToString(enc) == tt.hex) {
			t.Errorf("%d encodes to %x, vector %s", tt.value, enc, tt.hex)
		}
		if n := drafts[Draft18].varint.size(tt.value); tt.canonical && n != len(b) {
			t.Errorf("size of %d is %d", tt.value, n)
		}
		for i := range b {
			if _, n := Varint(b[:i], Draft18); n != 0 {
				t.Errorf("%s cut to %d bytes decodes", tt.hex, i)
			}
		}
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// TestGolden18 are own vectors, written by hand from the text of draft 18: every message, every form of a parameter.
func TestGolden18(t *testing.T) {
	live := object.TrackName{Namespace: object.Namespace{"live"}, Name: "v"}
	for _, tt := range []struct {
		hex string
		m   Message
	}{
		{"af00 0000", &Setup{}},
		{"af00 000b 0102 2f61 03 8400 0302 636f", &Setup{SetupParameters{Path: ptr("/a"), MaxAuthTokenCacheSize: ptr(uint64(1024)), Implementation: ptr("co")}}},
		{"10 0004 00 9388 00", &GoAway{Timeout: 5000, RequestID: ptr(uint64(0))}},
		{"10 0002 00 00", &GoAway{}}, // on the stream of a request
		{"07 0001 00", &RequestOK{}},
		{"07 0007 01 09 0a03 04 8bb8", &RequestOK{Parameters: Parameters{LargestObject: &Location{10, 3}}, Properties: []byte{0x04, 0x4b, 0xb8}}},
		{"1e 0003 01 10 00", &PublishOK{Parameters: Parameters{Forward: ptr(false)}}},
		{"05 0005 10 00 02 6e6f", &RequestError{Code: RequestDoesNotExist, Reason: "no"}},
		{"05 000c 34 00 00 01 61 01 04 6c697665 00", &RequestError{Code: RequestRedirect, Redirect: &Redirect{"a", object.TrackName{Namespace: object.Namespace{"live"}}}}},
		{"03 000a 02 01 04 6c697665 01 76 00", &Subscribe{2, live, Parameters{}}},
		{"03 001e 02 01 04 6c697665 01 76 07 02 9388 02 83e8 02 00 0a 00 10 c8 01 04 04 64 02 05 01 01", &Subscribe{2, live, Parameters{
			DeliveryTimeout: 5000, RendezvousTimeout: ptr(uint64(1000)), SubgroupDeliveryTimeout: ptr(uint64(0)), Forward: ptr(false),
			SubscriberPriority: ptr(uint8(200)), SubscriptionFilter: &Filter{Type: FilterAbsoluteRange, Start: Location{100, 2}, EndGroup: 105},
			GroupOrder: GroupOrderAscending,
		}}},
		{"0d 000e 02 01 04 6c697665 01 76 01 03 02 02 05", &TrackStatus{Subscribe{2, live, Parameters{Tokens: []Token{{AliasType: TokenUseAlias, Alias: 5}}}}}},
		{"04 0008 9000 01 08 1e 0e 8080", &SubscribeOK{TrackAlias: 4096, Parameters: Parameters{Expires: ptr(uint64(30))}, Properties: []byte{0x0e, 0x40, 0x80}}},
		{"02 0006 04 01 34 01 01 61", &RequestUpdate{RequestID: 4, Parameters: Parameters{NamespacePrefix: &object.Namespace{"a"}}}},
		{"02 0006 04 02 02 00 30 07", &RequestUpdate{RequestID: 4, Parameters: Parameters{NoDeliveryTimeout: true, NewGroupRequest: ptr(uint64(7))}}},
		{"1d 000f 03 01 04 6c697665 01 76 07 01 09 8100 02", &Publish{RequestID: 3, Track: live, TrackAlias: 7, Parameters: Parameters{LargestObject: &Location{256, 2}}}},
		{"0b 0003 05 01 00", &PublishDone{Code: DoneTooFarBehind, StreamCount: 1}},
		{"0b 0003 06 01 00", &PublishDone{Code: DoneExpired, StreamCount: 1}},
		{"0b 0003 09 01 00", &PublishDone{Code: DoneExcessiveLoad, StreamCount: 1}},
		{"0b 000b 02 ff3fffffffffffffff 00", &PublishDone{Code: DoneTrackEnded, StreamCount: MaxVarint}},
		{"16 0011 02 01 01 04 6c697665 01 76 00 00 0a 00 01 0a 64", &Fetch{
			RequestID: 2, FetchType: FetchStandalone, Track: live, End: Location{10, 0}, Parameters: Parameters{FillTimeout: ptr(uint64(100))},
		}},
		{"16 0005 02 02 00 03 00", &Fetch{RequestID: 2, FetchType: FetchRelativeJoining, JoiningStart: 3}},
		{"18 0004 01 0a 03 00", &FetchOK{EndOfTrack: true, End: Location{10, 3}}},
		{"06 0008 03 01 04 6c697665 00", &PublishNamespace{3, object.Namespace{"live"}, Parameters{}}},
		{"08 0003 01 01 61", &Namespace{object.Namespace{"a"}}},
		{"0e 0001 00", &NamespaceDone{object.Namespace{}}},
		{"50 0003 02 00 00", &SubscribeNamespace{2, object.Namespace{}, SubscribeNamespaces, Parameters{}}},
		{"51 0005 04 00 01 10 00", &SubscribeTracks{4, object.Namespace{}, Parameters{Forward: ptr(false)}}},
		{"0f 0005 01 01 61 01 76", &PublishBlocked{object.Namespace{"a"}, "v"}},
	} {
		want := unhex(tt.hex)
		b, err := AppendMessage(nil, Draft18, tt.m)
		if err != nil || !bytes.Equal(b, want) {
			t.Errorf("%T %+v encodes to %x, want %x (%v)", tt.m, tt.m, b, want, err)
			continue
		}
		typ, _, n, err := MessageHeader(want, Draft18)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseMessage(Draft18, typ, want[n:]); err != nil || !reflect.DeepEqual(got, tt.m) {
			t.Errorf("%x decodes to %+v, want %+v (%v)", want, got, tt.m, err)
		}
	}
}

// TestRefused18: what draft 18 wants a session closed for, and how.
func TestRefused18(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		typ       uint64
		code      SessionCode
	}{
		{"CLIENT_SETUP", "00", 0x20, ProtocolViolation},
		{"UNSUBSCRIBE", "01", 0x0a, ProtocolViolation},
		{"SUBSCRIBE_NAMESPACE by its old number", "02 00 00", 0x11, ProtocolViolation},
		{"path twice", "01 01 2f 00 01 2f", 0x2f00, ProtocolViolation},
		{"unknown parameter", "02 01 61 01 76 01 05 00", 0x03, ProtocolViolation},
		{"group order in REQUEST_UPDATE", "04 01 22 01", 0x02, ProtocolViolation},
		{"expires in FETCH_OK", "00 0a 03 01 08 1e", 0x18, ProtocolViolation},
		{"forward in TRACK_STATUS", "02 01 01 61 01 76 01 10 01", 0x0d, ProtocolViolation},
		{"forward 2", "04 01 10 02", 0x02, ProtocolViolation},
		{"forward twice", "04 02 10 01 00 01", 0x02, ProtocolViolation},
		{"group order 0", "02 00 01 76 01 22 00", 0x03, ProtocolViolation},
		{"parameter type over 2^64", "04 02 10 01 ffffffffffffffffff 00", 0x02, ProtocolViolation},
		{"filter end over 2^64", "04 01 21 0b 04 05 00 ffffffffffffffffff", 0x02, ProtocolViolation},
		{"filter longer than its length", "04 01 21 01 03", 0x02, ProtocolViolation},
		{"prefix cut", "04 01 34 01 01", 0x02, ProtocolViolation},
		{"empty namespace field", "03 01 00 00", 0x06, ProtocolViolation},
		{"token alias type 4", "04 01 03 01 04", 0x02, KeyValueFormattingError},
		{"redirect missing", "34 00 00", 0x05, ProtocolViolation},
		{"bytes after an error that is no redirect", "10 00 00 00 00 00", 0x05, ProtocolViolation},
		{"URI of 2^61 bytes", "ff2000000000000000", 0x10, ProtocolViolation},
	} {
		if m, err := ParseMessage(Draft18, tt.typ, unhex(tt.hex)); err == nil || Code(err) != tt.code {
			t.Errorf("%s: %+v, %v closes with %v, want %v", tt.name, m, err, Code(err), tt.code)
		}
	}
	if m, err := ParseMessage(Draft18, 0x2f00, unhex("02 01 9b 01 00 00 02 6100")); err != nil {
		t.Errorf("unknown options, MAX_REQUEST_ID of draft 16 among them, must be skipped: %+v, %v", m, err)
	}
	for _, m := range []Message{
		&ClientSetup{}, &Unsubscribe{}, &FetchCancel{}, &MaxRequestID{}, &PublishNamespaceDone{},
		&FetchOK{Parameters: Parameters{Expires: ptr(uint64(1))}},
		&RequestError{Code: RequestRedirect}, &RequestError{Redirect: &Redirect{}},
		&RequestUpdate{Parameters: Parameters{SubscriptionFilter: &Filter{Type: FilterAbsoluteRange, Start: Location{2, 0}, EndGroup: 1}}},
	} {
		if b, err := AppendMessage(nil, Draft18, m); !errors.Is(err, ErrValue) {
			t.Errorf("%T %+v was encoded to %x: %v", m, m, b, err)
		}
	}
	for _, m := range []Message{&Setup{}, &SubscribeTracks{}, &PublishBlocked{}} {
		if b, err := AppendMessage(nil, Draft16, m); !errors.Is(err, ErrValue) {
			t.Errorf("%T was encoded for draft 16 to %x: %v", m, b, err)
		}
	}
}

func TestSubgroup18(t *testing.T) {
	types := map[byte]bool{}
	for _, h := range subgroupForms() {
		for _, first := range []bool{false, true} {
			h.FirstObject = first
			b := h.Append(nil, Draft18)
			types[b[0]] = true
			if got, n, err := ParseSubgroupHeader(b, Draft18); err != nil || n != len(b) || !reflect.DeepEqual(got, h) {
				t.Errorf("%+v came back as %+v (%v)", h, got, err)
			}
		}
	}
	for typ := range uint64(1024) {
		if IsSubgroup(typ, Draft18) != (typ < 256 && types[byte(typ)]) {
			t.Errorf("type %#x: %v", typ, IsSubgroup(typ, Draft18))
		}
	}
	if len(types) != 48 {
		t.Errorf("%d types written, draft 18 has 48", len(types))
	}
	// The second example of draft-18 §11.6: a group whose first object has two properties.
	first := SubgroupObject{Length: 4}
	var err error
	if first.Properties, err = AppendKeyValues(nil, PropertyForm, []KeyValue{{Type: 4, Value: 2186796243}, {Type: 77, Bytes: []byte("traceID:123456")}}); err != nil {
		t.Fatal(err)
	}
	want := append(unhex("00 16 04 f08257dcd3 49 0e"), "traceID:123456\x04"...)
	b := AppendSubgroupObject(nil, Draft18, nil, true, first)
	if !bytes.Equal(b, want) {
		t.Errorf("object header %x, want %x", b, want)
	}
	for cut := range b {
		if _, n, err := ParseSubgroupObject(b[:cut], Draft18, nil, true, 100); n != 0 || err != nil {
			t.Errorf("cut to %d: %d, %v", cut, n, err)
		}
	}
	if got, n, err := ParseSubgroupObject(b, Draft18, nil, true, 100); err != nil || n != len(b) || !reflect.DeepEqual(got, first) {
		t.Errorf("%+v came back as %+v (%v)", first, got, err)
	}
}

// TestPropertiesBetweenDrafts: a block is held in one form, so that what came by one draft leaves by another.
func TestPropertiesBetweenDrafts(t *testing.T) {
	kvs := []KeyValue{{Type: 4, Value: 100}, {Type: 0x3800, Value: 1 << 40}, {Type: 0x3801, Bytes: []byte("x")}}
	held, err := AppendKeyValues(nil, PropertyForm, kvs)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Versions() {
		b, err := Datagram{TrackAlias: 1, Properties: held, Payload: []byte("p")}.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := ParseDatagram(b, v); err != nil || !bytes.Equal(d.Properties, held) {
			t.Errorf("%v: %x, %v", v, d.Properties, err)
		}
	}
}

// TestWideProperties: integers that draft 16 cannot write lie in one pair, leave by draft 18 as they came, and by draft 16 in that pair.
func TestWideProperties(t *testing.T) {
	for name, kvs := range map[string][]KeyValue{
		"value":         {{Type: 4, Value: 1 << 62}},
		"largest":       {{Type: 2, Value: 7}, {Type: 4, Value: 1<<64 - 1}, {Type: 4, Value: 8}, {Type: 5, Bytes: []byte("x")}, {Type: 6, Value: 1 << 63}},
		"same type":     {{Type: 4, Value: 1}, {Type: 4, Value: 1 << 62}, {Type: 4, Value: 2}, {Type: 8, Value: 3}},
		"type":          {{Type: 1, Bytes: []byte("a")}, {Type: 1<<63 + 1, Bytes: []byte("b")}, {Type: 1<<64 - 2, Value: 1<<64 - 1}},
		"the pair's":    {{Type: PropertyWide, Bytes: []byte("not pairs")}},
		"the pair's, 2": {{Type: PropertyWide, Bytes: []byte{4, 1}}, {Type: PropertyWide, Bytes: nil}},
	} {
		block, err := AppendKeyValues(nil, Draft18, kvs)
		if err != nil {
			t.Fatal(err)
		}
		held, err := heldProperties(block, Draft18)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if pairs, err := ParseKeyValues(held, PropertyForm); err != nil || pairs[len(pairs)-1].Type != PropertyWide {
			t.Errorf("%s: held as %v, %v", name, pairs, err)
		}
		for _, v := range Versions() { // it goes on by either draft, and comes out the same by 18
			b := AppendSubgroupObject(nil, v, nil, true, SubgroupObject{Properties: held, Length: 1})
			o, _, err := ParseSubgroupObject(b, v, nil, true, 1000)
			if err != nil || !bytes.Equal(o.Properties, held) {
				t.Errorf("%s, %v: %x, %v; want %x", name, v, o.Properties, err, held)
			}
			if v == Draft18 && !bytes.Contains(b, block) {
				t.Errorf("%s: %x left as %x", name, block, b)
			}
		}
	}
	// What looks like the pair and is not stays as it is.
	other, err := AppendKeyValues(nil, PropertyForm, []KeyValue{{Type: 2, Value: 1}, {Type: PropertyWide, Bytes: []byte{0xff}}})
	if err != nil {
		t.Fatal(err)
	}
	b := AppendSubgroupObject(nil, Draft18, nil, true, SubgroupObject{Properties: other, Length: 1})
	if _, _, err := ParseSubgroupObject(b, Draft18, nil, true, 1000); err != nil {
		t.Errorf("another's pair: %v", err)
	}
	// Values of known properties are seen in it.
	block, _ := AppendKeyValues(nil, Draft18, []KeyValue{{Type: PropertyDefaultPriority, Value: 1 << 62}})
	held, err := heldProperties(block, Draft18)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseTrackProperties(held, Draft18); err == nil {
		t.Error("a priority of 2^62 is taken")
	}
}

func TestFetchStream18(t *testing.T) {
	for _, descending := range []bool{false, true} {
		objects := []FetchObject{
			{Group: 5, Subgroup: 3, ID: 2, Priority: 100, Length: 10},
			{Group: 5, Subgroup: 3, ID: 3, Priority: 100, Length: 10},
			{Group: 5, Subgroup: 4, ID: 9, Priority: 100, Length: 10, Properties: []byte{0x3c, 0x40, 200}},
			{Flags: FetchEndOfUnknown, Group: 5, ID: 100}, // ids, not deltas
			{Group: 6, Subgroup: 1, ID: 101, Priority: 7, Length: 1},
			{Group: 9, Datagram: true, ID: 0, Priority: 7, Length: 1},
			{Flags: FetchEndOfNonExistent, Group: 10, ID: 0},
			{Group: 1 << 40, ID: 1 << 63, Priority: 7},
		}
		if descending {
			for i := range objects {
				objects[i].Group = 1<<41 - objects[i].Group
			}
		}
		write, read := FetchState{Descending: descending}, FetchState{Descending: descending}
		for _, o := range objects {
			b, err := write.Append(nil, Draft18, o)
			if err != nil {
				t.Fatal(err)
			}
			got, n, err := ParseFetchObject(b, Draft18, 100)
			if err != nil || n != len(b) {
				t.Fatalf("%+v: %d of %d, %v", o, n, len(b), err)
			}
			if err := read.Resolve(Draft18, &got); err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			if !o.EndOfRange() {
				got.Flags = 0
			}
			if !reflect.DeepEqual(got, o) {
				t.Errorf("%+v came back as %+v", o, got)
			}
		}
	}
	var s FetchState
	if _, err := s.Append(nil, Draft18, FetchObject{Group: 5, ID: 5}); err != nil {
		t.Fatal(err)
	}
	// Flags, group delta, object delta, length: group 7 is 5+1+1, object 2 counts from 0; then object 4 is 2+2.
	if b, err := s.Append(nil, Draft18, FetchObject{Group: 7, ID: 2}); err != nil || !bytes.Equal(b, unhex("0c 01 02 00")) {
		t.Errorf("next group: %x, %v", b, err)
	}
	if b, err := s.Append(nil, Draft18, FetchObject{Group: 7, ID: 4}); err != nil || !bytes.Equal(b, unhex("04 02 00")) {
		t.Errorf("same group: %x, %v", b, err)
	}
	for _, o := range []FetchObject{{Group: 6}, {Group: 7, ID: 3}} {
		if _, err := s.Append(nil, Draft18, o); !errors.Is(err, ErrValue) {
			t.Errorf("%+v against the order: %v", o, err)
		}
	}
	for name, tt := range map[string]struct {
		s FetchState
		o FetchObject
	}{
		"group over 2^64":  {FetchState{group: 9, located: true, objected: true}, FetchObject{Flags: 0x08, Group: math.MaxUint64 - 9}},
		"group below 0":    {FetchState{group: 9, located: true, objected: true, Descending: true}, FetchObject{Flags: 0x08, Group: 9}},
		"object over 2^64": {FetchState{id: 9, located: true, objected: true}, FetchObject{Flags: 0x04, ID: math.MaxUint64 - 8}},
	} {
		if err := tt.s.Resolve(Draft18, &tt.o); err == nil || Code(err) != ProtocolViolation {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCodesOfEachDraft(t *testing.T) {
	for _, tt := range []struct {
		code       ResetCode
		in16, in18 uint64
	}{
		{ResetCancelled, 1, 1}, {ResetUnknownObjectStatus, 4, 6}, {ResetGoingAway, 1, 4}, {ResetTooFarBehind, 2, 5},
		{ResetExpiredAuthToken, 1, 7}, {ResetExcessiveLoad, 1, 9}, {ResetMalformedTrack, 0x12, 0x12},
	} {
		if a, b := tt.code.Wire(Draft16), tt.code.Wire(Draft18); a != tt.in16 || b != tt.in18 {
			t.Errorf("%v is %#x in draft 16 and %#x in draft 18", tt.code, a, b)
		}
		if c := ResetCodeOf(Draft18, tt.in18); c != tt.code {
			t.Errorf("%#x in draft 18 is %v, want %v", tt.in18, c, tt.code)
		}
	}
	if ResetCodeOf(Draft16, 4) != ResetUnknownObjectStatus || ResetCodeOf(Draft18, 0x9d) != 0x9d {
		t.Error("a number without a code of its own must stay what it is")
	}
}

func TestPadding18(t *testing.T) {
	stream, datagram := unhex("f0132b3e28"), unhex("f0132b3e29 0000")
	if typ, _ := Varint(stream, Draft18); !IsPadding(typ, Draft18) || IsPadding(typ, Draft16) || IsSubgroup(typ, Draft18) {
		t.Errorf("stream type %#x", typ)
	}
	if !IsPaddingDatagram(datagram, Draft18) || IsPaddingDatagram(datagram, Draft16) || IsPaddingDatagram(nil, Draft18) {
		t.Error("padding datagram")
	}
}
