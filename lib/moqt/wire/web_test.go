package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	goflag "flag" // a helper of another test has its name
	"fmt"
	"os"
	"testing"

	"every.channel/ec/lib/object"
)

var update = goflag.Bool("update", false, "renew the vectors of the page")

// webVectors is where the page's tests find what this package writes.
const webVectors = "../../../web/testdata/wire18.json"

type (
	// webInteger has its value as text: JavaScript reads numbers over 2^53 inexactly.
	webInteger struct {
		Hex   string `json:"hex"`
		Value string `json:"value"`
	}
	// webRequest is a message that a viewer sends, and what it is made of.
	webRequest struct {
		Hex        string         `json:"hex"`
		What       string         `json:"what"`
		ID         uint64         `json:"id"`
		Namespace  []string       `json:"namespace,omitempty"`
		Name       string         `json:"name,omitempty"`
		Parameters map[string]any `json:"parameters,omitempty"`
		Start      *webLocation   `json:"start,omitempty"`
		End        *webLocation   `json:"end,omitempty"`
		Joins      uint64         `json:"joins,omitempty"`
		Groups     uint64         `json:"groups,omitempty"`
	}
	// webMessage is a message that a viewer gets, and what the page makes of it.
	webMessage struct {
		Hex  string         `json:"hex"`
		Want map[string]any `json:"want"`
	}
	webStream struct {
		Hex     string      `json:"hex"`
		Alias   uint64      `json:"alias"` // request id of a fetch
		Objects []webObject `json:"objects"`
	}
	webObject struct {
		Group   uint64 `json:"group"`
		Object  uint64 `json:"object"`
		Status  string `json:"status"`
		Payload string `json:"payload,omitempty"` // hex
		PTS     uint64 `json:"pts,omitempty"`
		BLAKE3  string `json:"blake3,omitempty"`
		Random  bool   `json:"random,omitempty"`
	}
	webLocation struct {
		Group  uint64 `json:"group"`
		Object uint64 `json:"object"`
	}
	webRefused struct {
		Hex string `json:"hex"`
		Why string `json:"why"`
	}
	webName struct {
		Namespace []string `json:"namespace"`
		Name      string   `json:"name"`
		Written   string   `json:"written"`
	}
)

// TestWebVectors: the vectors that the page's client is tested with are what this package writes.
func TestWebVectors(t *testing.T) {
	const v = Draft18
	message := func(m Message) string {
		b, err := AppendMessage(nil, v, m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		return hex.EncodeToString(b)
	}
	var all struct {
		Integers  []webInteger `json:"integers"`
		Requests  []webRequest `json:"requests"`
		Messages  []webMessage `json:"messages"`
		Subgroups []webStream  `json:"subgroups"`
		Fetches   []webStream  `json:"fetches"`
		Names     []webName    `json:"names"`
		Refused   []webRefused `json:"refused"` // messages that break the draft
	}

	for _, x := range []uint64{0, 1, 127, 128, 16_383, 16_384, 1<<21 - 1, 1 << 21, 1 << 28, 1 << 35, 58_327_040_013_871, 1<<49 - 1, 1 << 49, 1<<53 - 1, 1 << 56, 1<<62 - 1, 1<<64 - 1} {
		all.Integers = append(all.Integers, webInteger{hex.EncodeToString(AppendVarint(nil, v, x)), fmt.Sprint(x)})
	}

	track := object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "4"}, Name: "ts_t13"}
	request := func(r webRequest, m Message) {
		r.Hex = message(m)
		all.Requests = append(all.Requests, r)
	}
	about := func(what string, id uint64) webRequest {
		return webRequest{What: what, ID: id, Namespace: track.Namespace, Name: track.Name}
	}
	request(webRequest{What: "setup", Name: "every.channel page"}, &Setup{SetupParameters{Implementation: ptr("every.channel page")}})
	request(about("subscribe", 0), &Subscribe{RequestID: 0, Track: track})
	for _, f := range []struct {
		in   map[string]any
		want Filter
	}{
		{map[string]any{"kind": "next group"}, Filter{Type: FilterNextGroupStart}},
		{map[string]any{"kind": "largest object"}, Filter{Type: FilterLargestObject}},
		{map[string]any{"kind": "from", "start": webLocation{58_327_040_013_871, 4}}, Filter{Type: FilterAbsoluteStart, Start: Location{58_327_040_013_871, 4}}},
		{map[string]any{"kind": "range", "start": webLocation{100, 2}, "endGroup": 105}, Filter{Type: FilterAbsoluteRange, Start: Location{100, 2}, EndGroup: 105}},
	} {
		r := about("subscribe", 2)
		r.Parameters = map[string]any{"filter": f.in, "priority": 100, "groupOrder": 1, "forward": true}
		request(r, &Subscribe{RequestID: 2, Track: track, Parameters: Parameters{
			SubscriptionFilter: &f.want, SubscriberPriority: ptr(uint8(100)), GroupOrder: GroupOrderAscending, Forward: ptr(true),
		}})
	}
	request(about("track status", 4), &TrackStatus{Subscribe{RequestID: 4, Track: track}})
	past := about("fetch", 300)
	past.Start, past.End, past.Parameters = &webLocation{58_327_040_000_000, 0}, &webLocation{58_327_040_013_871, 11}, map[string]any{"groupOrder": 1}
	request(past, &Fetch{RequestID: 300, FetchType: FetchStandalone, Track: track, Start: Location{58_327_040_000_000, 0}, End: Location{58_327_040_013_871, 11}, Parameters: Parameters{GroupOrder: GroupOrderAscending}})
	request(webRequest{What: "joining fetch", ID: 6, Joins: 2, Groups: 3}, &Fetch{RequestID: 6, FetchType: FetchRelativeJoining, JoiningRequestID: 2, JoiningStart: 3})
	request(webRequest{What: "subscribe namespace", ID: 8, Namespace: []string{"ec"}}, &SubscribeNamespace{RequestID: 8, Prefix: object.Namespace{"ec"}})
	request(webRequest{What: "request error", ID: 3, Name: "this is a viewer"}, &RequestError{Code: RequestNotSupported, Reason: "this is a viewer"})

	got := func(m Message, want map[string]any) {
		all.Messages = append(all.Messages, webMessage{message(m), want})
	}
	largest := &Location{58_327_040_013_871, 10}
	here := map[string]any{"largest": webLocation{58_327_040_013_871, 10}}
	got(&Setup{SetupParameters{Implementation: ptr("every.channel"), MaxAuthTokenCacheSize: ptr(uint64(4096))}}, map[string]any{"type": "setup", "implementation": "every.channel"})
	got(&SubscribeOK{TrackAlias: 5, Parameters: Parameters{LargestObject: largest, Expires: ptr(uint64(30))}, Properties: []byte{0x0e, 0x40, 0x80}},
		map[string]any{"type": "subscribe ok", "alias": 5, "parameters": map[string]any{"largest": here["largest"], "expires": 30}})
	got(&SubscribeOK{TrackAlias: 1 << 20}, map[string]any{"type": "subscribe ok", "alias": 1 << 20, "parameters": map[string]any{}})
	got(&FetchOK{EndOfTrack: true, End: Location{9, 1}}, map[string]any{"type": "fetch ok", "endOfTrack": true, "end": webLocation{9, 1}, "parameters": map[string]any{}})
	got(&RequestOK{Parameters: Parameters{LargestObject: largest}}, map[string]any{"type": "request ok", "parameters": here})
	got(&RequestOK{}, map[string]any{"type": "request ok", "parameters": map[string]any{}})
	got(&RequestError{Code: RequestDoesNotExist, RetryInterval: 1000, Reason: "no such track"}, map[string]any{"type": "request error", "code": 0x10, "retry": 1000, "reason": "no such track"})
	got(&RequestError{Code: RequestRedirect, Reason: "moved", Redirect: &Redirect{URI: "https://other/", Track: track}}, map[string]any{
		"type": "request error", "code": 0x34, "retry": 0, "reason": "moved",
		"redirect": map[string]any{"uri": "https://other/", "track": map[string]any{"namespace": track.Namespace, "name": track.Name}},
	})
	got(&PublishDone{Code: DoneTrackEnded, StreamCount: 12, Reason: "over"}, map[string]any{"type": "publish done", "code": 2, "streams": 12, "reason": "over"})
	got(&Namespace{Suffix: object.Namespace{"atsc", "2065", "4"}}, map[string]any{"type": "namespace", "suffix": []string{"atsc", "2065", "4"}})
	got(&Namespace{}, map[string]any{"type": "namespace", "suffix": []string{}})
	got(&NamespaceDone{Suffix: object.Namespace{"dvb", "1", "2", "3"}}, map[string]any{"type": "namespace done", "suffix": []string{"dvb", "1", "2", "3"}})
	got(&GoAway{NewSessionURI: "https://other/", Timeout: 5000, RequestID: ptr(uint64(8))}, map[string]any{"type": "go away", "uri": "https://other/", "timeout": 5000, "requestID": 8})
	got(&GoAway{}, map[string]any{"type": "go away", "uri": "", "timeout": 0})

	payload := func(n int) []byte { return bytes.Repeat([]byte{byte(n), 0x47, 0xff}, n) }
	properties := func(b []byte, pts uint64, random bool) []byte {
		h := object.Sum(b)
		kvs := []KeyValue{{Type: 0x3ec0, Value: pts}, {Type: 0x3ec1, Bytes: h[:]}, {Type: 0x3ec2, Value: 18_000}}
		if random {
			kvs = append(kvs, KeyValue{Type: 0x3ec4, Value: 1})
		}
		out, err := AppendKeyValues(nil, PropertyForm, kvs)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	whole := func(group, id uint64, random bool) (webObject, []byte, []byte) {
		b := payload(int(id) + 3)
		pts := 8_589_934_000 + id*18_000
		h := object.Sum(b)
		return webObject{Group: group, Object: id, Status: "normal", Payload: hex.EncodeToString(b), PTS: pts, BLAKE3: hex.EncodeToString(h[:]), Random: random}, b, properties(b, pts, random)
	}

	for _, h := range []SubgroupHeader{
		{TrackAlias: 3, Group: 58_327_040_013_871, HasProperties: true, FirstObject: true},
		{TrackAlias: 200, Group: 7, Subgroup: 1, Priority: ptr(uint8(9)), HasProperties: true, EndOfGroup: true},
		{TrackAlias: 0, Group: 1 << 40, FromFirst: true, HasProperties: true},
	} {
		s := webStream{Alias: h.TrackAlias}
		b := h.Append(nil, v)
		var prev *uint64
		for _, id := range []uint64{0, 1, 2, 5} { // a gap is legal
			o, body, props := whole(h.Group, id, id == 0)
			b = AppendSubgroupObject(b, v, prev, true, SubgroupObject{ID: id, Properties: props, Length: uint64(len(body))})
			b = append(b, body...)
			prev = ptr(id)
			s.Objects = append(s.Objects, o)
		}
		if h.EndOfGroup {
			s.Objects = append(s.Objects, webObject{Group: h.Group, Status: "end of group"})
		} else {
			b = AppendSubgroupObject(b, v, prev, true, SubgroupObject{ID: 6, Status: StatusEndOfGroup})
			s.Objects = append(s.Objects, webObject{Group: h.Group, Object: 6, Status: "end of group"})
		}
		s.Hex = hex.EncodeToString(b)
		all.Subgroups = append(all.Subgroups, s)
	}

	var state FetchState
	fetch := webStream{Alias: 300}
	b := AppendFetchHeader(nil, v, 300)
	next := func(o FetchObject, body []byte, w webObject) {
		var err error
		if b, err = state.Append(b, v, o); err != nil {
			t.Fatal(err)
		}
		b = append(b, body...)
		fetch.Objects = append(fetch.Objects, w)
	}
	const g = 58_327_040_013_871
	next(FetchObject{Flags: FetchEndOfUnknown, Group: g - 1, ID: MaxVarint}, nil, webObject{Group: g - 1, Status: "gap"}) // its object id is not compared
	for _, at := range []Location{{g, 0}, {g, 1}, {g, 4}, {g + 65_536, 0}, {g + 65_536, 1}} {
		o, body, props := whole(at.Group, at.Object, at.Object == 0)
		next(FetchObject{Group: at.Group, Subgroup: at.Object / 4, ID: at.Object, Priority: 128, Properties: props, Length: uint64(len(body))}, body, o)
	}
	next(FetchObject{Flags: FetchEndOfNonExistent, Group: g + 65_536, ID: 9}, nil, webObject{Group: g + 65_536, Object: 9, Status: "none"})
	o, body, props := whole(g+65_536, 12, false)
	next(FetchObject{Group: g + 65_536, ID: 12, Priority: 128, Properties: props, Length: uint64(len(body))}, body, o)
	fetch.Hex = hex.EncodeToString(b)
	all.Fetches = append(all.Fetches, fetch, webStream{Hex: hex.EncodeToString(AppendFetchHeader(nil, v, 2)), Alias: 2, Objects: []webObject{}})

	for _, n := range []object.TrackName{
		track, {Namespace: object.Namespace{"ec", "source", "home_a", "4"}, Name: "catalog"},
		{Namespace: object.Namespace{"Ö", "a-b", "."}, Name: "x y"}, {Namespace: object.Namespace{"a"}, Name: ""},
	} {
		all.Names = append(all.Names, webName{n.Namespace, n.Name, n.String()})
	}
	for _, r := range []struct {
		typ          uint64
		payload, why string
	}{
		{0x04, "05 01 7b", "an unknown parameter"},
		{0x04, "05 01", "ends before a parameter"},
		{0x04, "05 02 08 01", "fewer parameters than it says"},
		{0x08, "01 00", "an empty field"},
		{0x08, "21 01 61", "33 fields"},
		{0x0e, "01 01 61 00", "a byte too many"},
		{0x05, "10 00 05 6e6f", "a reason that is longer than the message"},
		{0x05, "34 00 00 01 61 01", "a redirect without its track"},
		{0x07, "01 09 0a", "ends inside of a location"},
		{0x10, "00 8f", "ends inside of an integer"},
		{0x18, "01 09 01 02 08", "ends before parameters"},
		{0x2f00, "07 05 61 62", "an option longer than the message"},
	} {
		payload := unhex(r.payload)
		if m, err := ParseMessage(v, r.typ, payload); err == nil {
			t.Errorf("%s: taken for %+v", r.why, m)
		}
		b := append(AppendVarint(nil, v, r.typ), byte(len(payload)>>8), byte(len(payload)))
		all.Refused = append(all.Refused, webRefused{hex.EncodeToString(append(b, payload...)), r.why})
	}

	out, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, '\n')
	if *update {
		if err := os.WriteFile(webVectors, out, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(webVectors)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(old, out) {
		t.Errorf("%s is not what this package writes: run go test ./lib/moqt/wire -run TestWebVectors -update", webVectors)
	}
}
