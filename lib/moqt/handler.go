package moqt

import (
	"context"

	"every.channel/ec/lib/moqt/wire"
)

// Handler gets the requests of a peer. Each call runs in a goroutine of its own, at most Config.MaxRequests
// at a time, and Session.Run waits for all of them. The context ends when the peer withdraws the request
// (UNSUBSCRIBE, FETCH_CANCEL, PUBLISH_NAMESPACE_DONE …), when the request came to its end, and with the
// session. A method may answer and return, leaving what Accept gave it to others, or stay until its work
// is done. A request not answered on return is refused with INTERNAL_ERROR.
type Handler interface {
	// Subscribe: the peer wants new objects of a track.
	Subscribe(ctx context.Context, r *SubscribeRequest)
	// Fetch: the peer wants a range of past objects.
	Fetch(ctx context.Context, r *FetchRequest)
	// TrackStatus: the peer asks what SUBSCRIBE_OK would say.
	TrackStatus(ctx context.Context, r *TrackStatusRequest)
	// SubscribeNamespace: the peer wants to know which namespaces below a prefix exist.
	SubscribeNamespace(ctx context.Context, r *SubscribeNamespaceRequest)
	// PublishNamespace: the peer has tracks below a namespace.
	PublishNamespace(ctx context.Context, r *PublishNamespaceRequest)
	// Publish: the peer offers a track.
	Publish(ctx context.Context, r *PublishRequest)
}

// TokenHandler is a Handler that looks at the tokens of the peer's REQUEST_UPDATE, too. An error refuses the update.
type TokenHandler interface {
	Tokens(tokens []Token) *RequestError
}

// UnimplementedHandler refuses every request with NOT_SUPPORTED. Embed it and write the methods you need.
type UnimplementedHandler struct{}

const notSupported = "not supported"

// Subscribe refuses.
func (UnimplementedHandler) Subscribe(_ context.Context, r *SubscribeRequest) {
	r.Reject(wire.RequestNotSupported, notSupported)
}

// Fetch refuses.
func (UnimplementedHandler) Fetch(_ context.Context, r *FetchRequest) {
	r.Reject(wire.RequestNotSupported, notSupported)
}

// TrackStatus refuses.
func (UnimplementedHandler) TrackStatus(_ context.Context, r *TrackStatusRequest) {
	r.Reject(wire.RequestNotSupported, notSupported)
}

// SubscribeNamespace refuses.
func (UnimplementedHandler) SubscribeNamespace(_ context.Context, r *SubscribeNamespaceRequest) {
	r.Reject(wire.RequestNotSupported, notSupported)
}

// PublishNamespace refuses.
func (UnimplementedHandler) PublishNamespace(_ context.Context, r *PublishNamespaceRequest) {
	r.Reject(wire.RequestNotSupported, notSupported)
}

// Publish refuses.
func (UnimplementedHandler) Publish(_ context.Context, r *PublishRequest) {
	r.Reject(wire.RequestNotSupported, notSupported)
}

// Handle makes h the handler of this session's requests instead of the Config's. It must be called before Run or
// Handshake: a server that tells its peers apart gives each session a handler of its own.
func (s *Session) Handle(h Handler) { s.cfg.Handler = h }
