package relay

import (
	"context"
	"crypto/tls"
	"slices"
	"sync"
	"testing"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// rogue is a relay that a test makes up: it tells routes, and answers as the test says. What the test does not say is refused.
type rogue struct {
	moqt.UnimplementedHandler
	id     string
	routes []object.Namespace // whole, with the field for routes
	fetch  func(ctx context.Context, r *moqt.FetchRequest)
	status func(ctx context.Context, r *moqt.TrackStatusRequest)
	subscr func(ctx context.Context, r *moqt.SubscribeRequest)
}

// newRogue is one that says to have a track, live and stored.
func newRogue(name object.TrackName) *rogue {
	h := &rogue{id: newRelayID()}
	h.tells(name)
	return h
}

func (h *rogue) tells(name object.TrackName) {
	path := []string{h.id}
	h.routes = append(h.routes, route{name.Namespace, true, path}.namespace(), route{name.Namespace, false, path}.namespace(), trackRoute{name, path}.namespace())
}

func (h *rogue) SubscribeNamespace(ctx context.Context, r *moqt.SubscribeNamespaceRequest) {
	a, err := r.AcceptAny()
	if err != nil {
		return
	}
	for _, ns := range append([]object.Namespace{{routesField, stateRelay, h.id}}, h.routes...) {
		if a.Add(ns) != nil {
			return
		}
	}
	<-ctx.Done()
}

func (h *rogue) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	if h.fetch == nil {
		r.Reject(wire.RequestDoesNotExist, "not here")
		return
	}
	h.fetch(ctx, r)
}

func (h *rogue) TrackStatus(ctx context.Context, r *moqt.TrackStatusRequest) {
	if h.status == nil {
		r.Reject(wire.RequestDoesNotExist, "not here")
		return
	}
	h.status(ctx, r)
}

func (h *rogue) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	if h.subscr == nil {
		r.Reject(wire.RequestDoesNotExist, "not here")
		return
	}
	h.subscr(ctx, r)
}

// inMemoryUpstream is an upstream that is reached in memory.
func inMemoryUpstream(t testing.TB, name string, serve func(ctx context.Context, c moqt.Conn)) Upstream {
	var serving sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); serving.Wait() })
	return Upstream{Relay: "moqt://" + name + ":1", Dial: func(ctx2 context.Context, _ string, _ *tls.Config, conf *moqt.Config) (*moqt.Session, error) {
		client, server := moqt.Pipe(moqt.PipeOptions{Version: wire.Draft18, MaxStreams: 1024, Window: 1 << 20})
		serving.Go(func() { serve(ctx, server) })
		s := moqt.NewClient(client, name, "/", conf)
		if err := s.Handshake(ctx2); err != nil {
			s.Close(wire.NoError, "")
			return nil, err
		}
		return s, nil
	}}
}

// upstream is how a relay reaches the rogue.
func (h *rogue) upstream(t testing.TB) Upstream {
	return inMemoryUpstream(t, "rogue", func(ctx context.Context, c moqt.Conn) { moqt.NewServer(c, &moqt.Config{Handler: h}).Run(ctx) })
}

// pipeUpstream is how a relay in memory is reached by another one.
func (s *server) pipeUpstream(t testing.TB) Upstream {
	return inMemoryUpstream(t, "good", func(ctx context.Context, c moqt.Conn) { s.serve(ctx, moqt.NewServer(c, nil)) })
}

// Whoever tells the id of another relay hides nothing of it: an id without a proof is a word.
func TestToldIDHidesNobody(t *testing.T) {
	good := home(t, "127.0.0.1:0", gate(true))
	p := good.publisher(t, ts)
	p.group(1)
	h := newRogue(otherTrack)
	h.id = good.id
	h.tells(ts)
	r := home(t, "127.0.0.1:0", gate(true), h.upstream(t), good.peer())
	wait(t, "both", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return !slices.ContainsFunc(r.upstreams, func(u *upstream) bool { return u.id != good.id || len(u.routes) == 0 })
	})
	v := r.viewer(t, ts, from(1))
	p.group(2)
	v.whole(2)
}
