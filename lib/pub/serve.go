package pub

import (
	"context"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// An uploader also handles requests of its session: relays that do not take PUBLISH subscribe, and any relay may fetch what is in
// the spool.
var _ moqt.Handler = (*uploader)(nil)

func (u *uploader) lookup(name object.TrackName) (t *track, largest *moqt.Location) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	t = u.s.tracks[name.String()]
	if t != nil {
		largest = t.largest
	}
	return t, largest
}

// waiting returns the channel that brings a subscription of the relay to the track that waits for one.
func (u *uploader) waiting(t *track) chan *moqt.Publication {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := t.name.String()
	if u.subs[key] == nil {
		u.subs[key] = make(chan *moqt.Publication)
	}
	return u.subs[key]
}

// subscription waits for the relay to subscribe to a track. It returns nil if the input ends first.
func (u *uploader) subscription(ctx context.Context, t *track) (*moqt.Publication, error) {
	ended, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		u.s.mu.Lock()
		defer u.s.mu.Unlock()
		u.s.await(ended, func() bool { return u.s.ended })
		stop()
	}()
	select {
	case pub := <-u.waiting(t):
		return pub, nil
	case <-ended.Done():
		return nil, context.Cause(ctx)
	}
}

// Subscribe serves a relay that subscribes.
func (u *uploader) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	t, largest := u.lookup(r.Track)
	if t == nil {
		r.Reject(wire.RequestDoesNotExist, "")
		return
	}
	if u.early(t) {
		r.Reject(wire.RequestDoesNotExist, "it is about to be offered with PUBLISH")
		return
	}
	pub, err := r.Accept(moqt.TrackInfo{Largest: largest, Properties: t.properties})
	if err != nil {
		return
	}
	select {
	case u.waiting(t) <- pub: // the track's own sender takes it
		<-pub.Context().Done()
	default: // it is a second subscription
		if u.send(ctx, pub, t) == nil {
			pub.Done(u.doneCode(t), "")
		}
	}
}

// TrackStatus answers for tracks in the spool.
func (u *uploader) TrackStatus(_ context.Context, r *moqt.TrackStatusRequest) {
	t, largest := u.lookup(r.Track)
	if t == nil {
		r.Reject(wire.RequestDoesNotExist, "")
		return
	}
	r.Accept(moqt.TrackInfo{Largest: largest, Properties: t.properties})
}

// SubscribeNamespace tells the namespaces of the input.
func (u *uploader) SubscribeNamespace(ctx context.Context, r *moqt.SubscribeNamespaceRequest) {
	a, err := r.Accept()
	if err != nil {
		return
	}
	for n := 0; ; n++ {
		var t *track
		u.s.mu.Lock()
		if u.s.await(ctx, func() bool { return n < len(u.s.names) || u.s.ended }) && n < len(u.s.names) {
			t = u.s.names[n]
		}
		u.s.mu.Unlock()
		if t == nil {
			break
		}
		if t.name.Namespace.HasPrefix(r.Prefix) && a.Add(t.name.Namespace) != nil {
			return
		}
	}
	a.Close()
}

// PublishNamespace refuses: a publisher takes nothing.
func (u *uploader) PublishNamespace(_ context.Context, r *moqt.PublishNamespaceRequest) {
	r.Reject(wire.RequestUninterested, "")
}

// Publish refuses: a publisher takes nothing.
func (u *uploader) Publish(_ context.Context, r *moqt.PublishRequest) {
	r.Reject(wire.RequestUninterested, "")
}
