package moqt

import (
	"errors"
	"testing"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestRequestTableAdmits: which ids the peer of a server may use, on one stream and on many.
func TestRequestTableAdmits(t *testing.T) {
	const limit = 40_000
	for _, tt := range []struct {
		name  string
		lossy bool
		ids   []uint64 // all but the last are right
		code  SessionCode
	}{
		{"in order", false, []uint64{0, 2, 4}, wire.NoError},
		{"overtaken", false, []uint64{4, 0, 2, 6}, wire.NoError},
		{"twice", false, []uint64{0, 0}, wire.InvalidRequestID},
		{"overtaken, twice", false, []uint64{4, 2, 2}, wire.InvalidRequestID},
		{"of this side", false, []uint64{0, 3}, wire.InvalidRequestID},
		{"at the limit", false, []uint64{0, limit}, wire.TooManyRequests},
		{"far ahead", false, []uint64{0, 2 + 2*(maxSkipped+1)}, wire.InvalidRequestID},
		{"as far as may be", false, []uint64{0, 2 + 2*maxSkipped}, wire.NoError},
		{"far ahead on streams", true, []uint64{0, 2 + 2*(maxSkipped+1)}, wire.NoError},
		{"too far ahead on streams", true, []uint64{0, 2 + 2*(maxSkippedStreams+1)}, wire.InvalidRequestID},
		{"what never came is forgotten", true, []uint64{2 * maxSkippedStreams, 4 * maxSkippedStreams, 2}, wire.InvalidRequestID},
	} {
		table := newRequestTable(false, tt.lossy)
		for i, id := range tt.ids {
			code := wire.NoError
			var we *wire.Error
			if errors.As(table.admit(id, limit, nil, nil), &we) {
				code = we.Code
			}
			if want := tt.code; i < len(tt.ids)-1 && code != wire.NoError || i == len(tt.ids)-1 && code != want {
				t.Errorf("%s: id %d: %v", tt.name, id, code)
			}
		}
	}
}

// TestRequestTableTells: who waits for what the peer says next is woken by each thing that may be it, and once.
func TestRequestTableTells(t *testing.T) {
	table := newRequestTable(false, true)
	r := &request{id: 2}
	for name, news := range map[string]func(){
		"request": func() {
			if err := table.admit(2, 100, r, nil); err != nil {
				t.Error(err)
			}
		},
		"update over":  func() { table.updated(r) },
		"own answered": table.answered,
		"request over": func() { table.remove(r) },
	} {
		table.mu.Lock()
		heard := table.heard()
		table.mu.Unlock()
		select {
		case <-heard:
			t.Errorf("%s: woken before", name)
		default:
		}
		news()
		select {
		case <-heard:
		default:
			t.Errorf("%s: not woken", name)
		}
	}
}

// TestRequestTableIDs: own ids are those of the side, and a request that took another's place is not removed with it.
func TestRequestTableIDs(t *testing.T) {
	client, server := newRequestTable(true, false), newRequestTable(false, false)
	if a, b, c := client.nextID(), client.nextID(), server.nextID(); a != 0 || b != 2 || c != 1 {
		t.Errorf("ids %d, %d and %d", a, b, c)
	}
	if own, peer := client.following(); own != 4 || peer != 1 {
		t.Errorf("next %d and %d", own, peer)
	}
	r := &request{id: 0}
	client.add(r)
	client.remove(&request{id: 0}) // was never added
	if client.get(0) != r || len(client.all()) != 1 {
		t.Error("removed with another")
	}
	client.remove(r)
	if client.get(0) != nil {
		t.Error("not removed")
	}
}

// TestClaims: prefixes of one kind may not overlap, unless the request that has one is over.
func TestClaims(t *testing.T) {
	_, b := Pipe(PipeOptions{Version: wire.Draft18})
	s := NewServer(b, nil)
	ask := func(id uint64, m wire.Message) *request {
		r := s.newRequest(m, false, nobody{})
		r.id = id
		s.requests.add(r)
		return r
	}
	first, second := ask(0, &wire.SubscribeNamespace{}), ask(2, &wire.SubscribeNamespace{})
	tracks := ask(4, &wire.SubscribeTracks{})
	for _, tt := range []struct {
		r      *request
		prefix object.Namespace
		ok     bool
	}{
		{first, object.Namespace{"a"}, true},
		{second, object.Namespace{"a", "b"}, false},
		{second, object.Namespace{}, false},
		{tracks, object.Namespace{"a"}, true},
		{second, object.Namespace{"b"}, true},
		{first, object.Namespace{"a", "b"}, true}, // in place of its own
	} {
		if refusal := s.requests.claim(tt.r, tt.prefix); (refusal == nil) != tt.ok {
			t.Errorf("request %d claims %v: %v", tt.r.id, tt.prefix, refusal)
		}
	}
	first.stop(ErrClosed)
	if refusal := s.requests.claim(second, object.Namespace{"a"}); refusal != nil {
		t.Errorf("after the end of the other: %v", refusal)
	}
}
