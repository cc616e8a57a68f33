package moqt

import "every.channel/ec/lib/moqt/wire"

// Message.Type of the requests.
var (
	typeSubscribe          = (*wire.Subscribe)(nil).Type()
	typePublish            = (*wire.Publish)(nil).Type()
	typeFetch              = (*wire.Fetch)(nil).Type()
	typeTrackStatus        = (*wire.TrackStatus)(nil).Type()
	typePublishNamespace   = (*wire.PublishNamespace)(nil).Type()
	typeSubscribeNamespace = (*wire.SubscribeNamespace)(nil).Type()
	typeSubscribeTracks    = (*wire.SubscribeTracks)(nil).Type()

	typeGoAway = (*wire.GoAway)(nil).Type() // which is none
)

// requestID is where a message that begins a request has its id; nil: it begins none.
func requestID(m wire.Message) *uint64 {
	switch m := m.(type) {
	case *wire.Subscribe:
		return &m.RequestID
	case *wire.Publish:
		return &m.RequestID
	case *wire.Fetch:
		return &m.RequestID
	case *wire.TrackStatus:
		return &m.RequestID
	case *wire.PublishNamespace:
		return &m.RequestID
	case *wire.SubscribeNamespace:
		return &m.RequestID
	case *wire.SubscribeTracks:
		return &m.RequestID
	}
	return nil
}

// listing reports whether the request is for what namespaces or tracks there are.
func (r *request) listing() bool {
	return r.typ == typeSubscribeNamespace || r.typ == typeSubscribeTracks
}

// published reports whether the request is for a track that the peer publishes.
func (r *request) published() bool {
	return r.own && r.typ == typeSubscribe || !r.own && r.typ == typePublish
}

// scoped reports whether the request is for a namespace.
func (r *request) scoped() bool {
	return r.typ == typePublishNamespace || r.listing()
}

// endsWithFIN reports whether the peer ends the request when it has no more to say: a track or namespace of its own, a listing. What
// it asked for goes on until it is cancelled.
func (r *request) endsWithFIN() bool {
	switch r.typ {
	case typeSubscribe:
		return r.own && !r.done
	case typePublish:
		return !r.own && !r.done
	case typePublishNamespace, typeSubscribeNamespace, typeSubscribeTracks:
		if !r.own { // of who offers, or asks for a listing
			return r.s.ways.finEnds()
		}
		return r.listing()
	case typeFetch, typeTrackStatus:
		return false
	}
	return true
}
