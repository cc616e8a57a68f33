package moqt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

var errBody = errors.New("body follows")

// Session is one MoQ session; both ends can publish and subscribe on it. Its methods may be called
// concurrently, before and while Run runs.
type Session struct{}

// Run exchanges setup messages if that has not happened yet, then serves the session until it ends or ctx
// does, and waits for everything it started. It returns nil after a regular close (NO_ERROR by either
// side), ctx's error, or the *SessionError that ended the session.
func (s *Session) Run(ctx context.Context) error { return errBody }

// Close ends the session and tells the peer why. Run returns.
func (s *Session) Close(code SessionCode, reason string) error { return errBody }

// Context ends with the session; its cause is the *SessionError.
func (s *Session) Context() context.Context { return nil }

// Version is the draft spoken on this session.
func (s *Session) Version() Version { return 0 }

// Peer is what the other side said in its setup message; it waits for that until ctx is done.
func (s *Session) Peer(ctx context.Context) (PeerInfo, error) { return PeerInfo{}, errBody }

// LocalAddr is this side's address.
func (s *Session) LocalAddr() net.Addr { return nil }

// RemoteAddr is the peer's address.
func (s *Session) RemoteAddr() net.Addr { return nil }

// GoAway asks the peer to leave, a client for uri ("" for the same again) (§9.4). Afterwards new requests
// of the peer are refused. Closing the session when the peer took too long is up to the caller.
func (s *Session) GoAway(uri string) error { return errBody }

// GoingAway is closed when the peer sent GOAWAY; GoAwayURI then tells where to go.
func (s *Session) GoingAway() <-chan struct{} { return nil }

// GoAwayURI is the New Session URI of the peer's GOAWAY, "" for the address in use.
func (s *Session) GoAwayURI() string { return "" }

// DialQUIC connects to moqt://host:port/path over raw QUIC and exchanges setup messages. Run must be called next.
// tlsConf may be nil; ALPN is set here.
func DialQUIC(ctx context.Context, url string, tlsConf *tls.Config, conf *Config) (*Session, error) {
	return nil, errBody
}

// Listener accepts raw QUIC sessions.
type Listener struct{}

// ListenQUIC listens on a UDP address. tlsConf needs a certificate; ALPN is set here.
func ListenQUIC(addr string, tlsConf *tls.Config, conf *Config) (*Listener, error) { return nil, errBody }

// Accept returns the next connection; its setup happens in Run, so a slow client delays nobody.
func (l *Listener) Accept(ctx context.Context) (*Session, error) { return nil, errBody }

// Addr is the UDP address listened on.
func (l *Listener) Addr() net.Addr { return nil }

// Close stops listening and closes every session accepted.
func (l *Listener) Close() error { return errBody }

// TrackInfo is what a publisher says about a track when a subscription or fetch begins.
type TrackInfo struct {
	Largest    *Location     // largest object so far; nil if there is none yet
	Expires    time.Duration // after which the publisher will end the subscription; 0 never
	Properties []byte        // track properties as key-value-pairs, forwarded unchanged (§10, §11)
}

// SubscribeOptions shape a subscription. The zero value asks for every object from now on.
type SubscribeOptions struct {
	Filter          Filter     // zero: no filter
	Priority        *uint8     // subscriber priority, lower first; nil: 128
	GroupOrder      GroupOrder // zero: the publisher's
	NoForward       bool       // start paused: Forward State 0
	DeliveryTimeout time.Duration
	NewGroup        *uint64 // NEW_GROUP_REQUEST
	Tokens          []Token
}

// Subscribe asks for a track and waits for SUBSCRIBE_OK (*RequestError if refused).
func (s *Session) Subscribe(ctx context.Context, track object.TrackName, o SubscribeOptions) (*Subscription, error) {
	return nil, errBody
}

// Subscription is the subscriber's end of a subscription, whoever started it.
type Subscription struct{}

// Track is the full track name.
func (s *Subscription) Track() object.TrackName { return object.TrackName{} }

// Info is what SUBSCRIBE_OK or PUBLISH said.
func (s *Subscription) Info() TrackInfo { return TrackInfo{} }

// GroupOrder is the order in force: the subscriber's wish or else the publisher's.
func (s *Subscription) GroupOrder() GroupOrder { return 0 }

// Context ends when the subscription did.
func (s *Subscription) Context() context.Context { return nil }

// AcceptSubgroup returns the next subgroup stream, in order of arrival. Streams not accepted keep their stream
// credit, so a subscriber that stops accepting stops its publisher (Config.MaxStreams); nothing is dropped.
// After the end of the subscription and all its streams it returns *DoneError.
func (s *Subscription) AcceptSubgroup(ctx context.Context) (*SubgroupReader, error) { return nil, errBody }

// AcceptDatagram returns the next object that came as a datagram.
func (s *Subscription) AcceptDatagram(ctx context.Context) (Datagram, error) { return Datagram{}, errBody }

// DroppedDatagrams counts datagrams dropped because nobody took them (Config.MaxPendingDatagrams).
func (s *Subscription) DroppedDatagrams() uint64 { return 0 }

// Update changes filter, priority or forward state and waits for the answer.
func (s *Subscription) Update(ctx context.Context, o UpdateOptions) error { return errBody }

// Unsubscribe ends the subscription; its streams are refused from now on.
func (s *Subscription) Unsubscribe() error { return errBody }

// UpdateOptions are what REQUEST_UPDATE can change; nil leaves a value as it is.
type UpdateOptions struct {
	Filter          *Filter
	Priority        *uint8
	Forward         *bool
	DeliveryTimeout *time.Duration
	NewGroup        *uint64
	Tokens          []Token
}

// SubgroupHeader is what a subgroup stream begins with (§10.4.2).
type SubgroupHeader struct {
	Group    uint64
	Subgroup uint64
	// SubgroupFromFirst: the subgroup's id is the id of its first object. On reading, Subgroup is valid from the
	// first Next on.
	SubgroupFromFirst bool
	// Priority of the publisher, lower first; nil: the track's default.
	Priority *uint8
	// EndOfGroup: the last object before FIN is the last of its group.
	EndOfGroup bool
	// HasProperties: objects may carry properties.
	HasProperties bool
}

// ObjectHeader is what precedes the payload of an object in a subgroup.
type ObjectHeader struct {
	ID         uint64
	Properties []byte // key-value-pairs, valid until the next call of Next
	Status     ObjectStatus
	Size       uint64 // of the payload
}

// SubgroupReader reads the objects of one subgroup stream.
type SubgroupReader struct{}

// Header is the subgroup's header.
func (r *SubgroupReader) Header() SubgroupHeader { return SubgroupHeader{} }

// Priority is the publisher priority in force: the header's or else the track's.
func (r *SubgroupReader) Priority() uint8 { return 0 }

// Next skips what is left of the current payload and returns the next object's header. io.EOF is FIN: the subgroup
// is whole. *StreamResetError: the rest will not come on this stream.
func (r *SubgroupReader) Next() (ObjectHeader, error) { return ObjectHeader{}, errBody }

// Read reads the payload of the current object as it arrives; io.EOF is its end, io.ErrUnexpectedEOF never happens:
// a stream that ends inside an object closes the session.
func (r *SubgroupReader) Read(p []byte) (int, error) { return 0, errBody }

// SetReadDeadline bounds Next and Read.
func (r *SubgroupReader) SetReadDeadline(t time.Time) error { return errBody }

// Cancel sends STOP_SENDING. Every reader must be read to an error or cancelled, else it keeps its stream credit.
func (r *SubgroupReader) Cancel(code ResetCode) {}

// Datagram is an object sent as a datagram (§10.3).
type Datagram struct {
	Group      uint64
	ID         uint64
	Priority   *uint8 // nil: the track's default
	Properties []byte
	Status     ObjectStatus
	EndOfGroup bool
	Payload    []byte
}

// PublishOptions describe a track offered with PUBLISH.
type PublishOptions struct {
	Largest    *Location
	GroupOrder GroupOrder // the publisher's preference; sent as track property
	NoForward  bool       // do not send before the subscriber asks
	Expires    time.Duration
	Properties []byte // track properties as key-value-pairs
	Tokens     []Token
}

// Publish offers a track and waits for PUBLISH_OK (*RequestError if refused).
func (s *Session) Publish(ctx context.Context, track object.TrackName, o PublishOptions) (*Publication, error) {
	return nil, errBody
}

// Publication is the publisher's end of a subscription, whoever started it.
type Publication struct{}

// Track is the full track name.
func (p *Publication) Track() object.TrackName { return object.TrackName{} }

// Context ends when the subscriber unsubscribed, Done was called or the session ended.
func (p *Publication) Context() context.Context { return nil }

// State is what the subscriber wants at this moment.
func (p *Publication) State() PublicationState { return PublicationState{} }

// Updates has a value whenever State changed since it was last received from; changes coalesce.
func (p *Publication) Updates() <-chan struct{} { return nil }

// OpenSubgroup opens a stream for a subgroup, waiting for the peer's stream credit until ctx is done. Priorities and
// group order become the stream's priority. The header leaves with the first object.
func (p *Publication) OpenSubgroup(ctx context.Context, h SubgroupHeader) (*SubgroupWriter, error) {
	return nil, errBody
}

// SendDatagram sends an object as a datagram, or drops it if it does not fit the path (§10.3).
func (p *Publication) SendDatagram(d Datagram) error { return errBody }

// Done ends the subscription with PUBLISH_DONE and the count of streams. Streams still open are reset first, because
// the draft wants every stream closed before.
func (p *Publication) Done(code DoneCode, reason string) error { return errBody }

// PublicationState is what a subscriber asked for, updates included.
type PublicationState struct {
	Forward         bool
	Priority        uint8
	GroupOrder      GroupOrder
	Filter          Filter // as sent
	Start           Location
	EndGroup        uint64 // inclusive; math.MaxUint64 for an open end
	DeliveryTimeout time.Duration
	NewGroup        *uint64 // last NEW_GROUP_REQUEST
}

// Wants reports whether an object passes the filter.
func (s PublicationState) Wants(l Location) bool {
	return !l.Less(s.Start) && l.Group <= s.EndGroup
}

// SubgroupWriter writes the objects of one subgroup stream. Writes block while the subscriber gives no credit, until the
// deadline: what to do with a slow subscriber (wait, or Reset and tell how much was lost) is the caller's choice.
// It is not for concurrent use.
type SubgroupWriter struct{}

// WriteObject writes an object, header and payload in one go. Object ids must increase. Properties are key-value-pairs and
// need HasProperties in the header. A status other than normal has neither properties nor payload.
func (w *SubgroupWriter) WriteObject(id uint64, properties []byte, status ObjectStatus, payload []byte) error {
	return errBody
}

// WriteObjectHeader begins an object of size bytes whose payload follows in Write calls; the header leaves with the first.
func (w *SubgroupWriter) WriteObjectHeader(id uint64, properties []byte, size uint64) error { return errBody }

// Write writes payload of the object begun with WriteObjectHeader.
func (w *SubgroupWriter) Write(p []byte) (int, error) { return 0, errBody }

// SetWriteDeadline bounds writes; after a write that missed it the stream can only be Reset.
func (w *SubgroupWriter) SetWriteDeadline(t time.Time) error { return errBody }

// Context ends when the stream was closed or reset, or the subscriber refused it with STOP_SENDING.
func (w *SubgroupWriter) Context() context.Context { return nil }

// Close sends FIN: the subgroup is whole. Inside an object it resets instead and returns ErrOrder.
func (w *SubgroupWriter) Close() error { return errBody }

// Reset abandons the stream; the header still arrives where the transport can, so that the subscriber can account for it.
func (w *SubgroupWriter) Reset(code ResetCode) {}

// FetchOptions shape a fetch.
type FetchOptions struct {
	Priority   *uint8
	GroupOrder GroupOrder // zero: ascending
	Tokens     []Token
}

// Fetch asks for the objects from start to before end; end.Object 0 means the whole group end.Group (§9.16.1). It
// returns when the publisher accepted or the first object arrives (*RequestError if refused).
func (s *Session) Fetch(ctx context.Context, track object.TrackName, start, end Location, o FetchOptions) (*FetchReader, error) {
	return nil, errBody
}

// FetchRelative fetches what came before a subscription with filter LargestObject, beginning groups before its
// largest group.
func (s *Session) FetchRelative(ctx context.Context, sub *Subscription, groups uint64, o FetchOptions) (*FetchReader, error) {
	return nil, errBody
}

// FetchAbsolute does so beginning at a group.
func (s *Session) FetchAbsolute(ctx context.Context, sub *Subscription, group uint64, o FetchOptions) (*FetchReader, error) {
	return nil, errBody
}

// FetchInfo is what FETCH_OK says.
type FetchInfo struct {
	EndOfTrack bool     // End is the track's last object, all of it is published
	End        Location // where the response ends, exclusive; Object 0: with that whole group (§9.17)
	Properties []byte   // track properties
}

// FetchKind tells objects from the ranges between them.
type FetchKind uint8

// Kinds of entries in a fetch stream.
const (
	FetchedObject FetchKind = iota
	// FetchedNonExistent: nothing exists between the last entry and this location, inclusive.
	FetchedNonExistent
	// FetchedUnknown: the publisher does not know about that range.
	FetchedUnknown
)

// FetchObject is one entry of a fetch stream.
type FetchObject struct {
	Kind       FetchKind
	Group      uint64
	Subgroup   uint64
	ID         uint64
	Priority   uint8
	Datagram   bool   // was published as a datagram: no subgroup
	Properties []byte // valid until the next call of Next
	Size       uint64
}

// FetchReader reads the response to a fetch.
type FetchReader struct{}

// Info waits for FETCH_OK.
func (r *FetchReader) Info(ctx context.Context) (FetchInfo, error) { return FetchInfo{}, errBody }

// Next returns the next entry; io.EOF after the last.
func (r *FetchReader) Next() (FetchObject, error) { return FetchObject{}, errBody }

// Read reads the payload of the current object.
func (r *FetchReader) Read(p []byte) (int, error) { return 0, errBody }

// Cancel sends FETCH_CANCEL. Every reader must be read to an error or cancelled.
func (r *FetchReader) Cancel() error { return errBody }

// FetchRequest is a peer's FETCH.
type FetchRequest struct {
	Track      object.TrackName
	Start      Location
	End        Location // exclusive; Object 0: the whole group
	Priority   uint8
	GroupOrder GroupOrder
	Tokens     []Token
	// Joining is the publication a joining fetch refers to, nil for a standalone fetch; Start and End are resolved.
	Joining *Publication
}

// Accept answers FETCH_OK and returns the writer of the objects.
func (r *FetchRequest) Accept(info FetchInfo) (*FetchWriter, error) { return nil, errBody }

// Reject answers REQUEST_ERROR.
func (r *FetchRequest) Reject(code RequestCode, reason string) error { return errBody }

// FetchWriter writes the response to a fetch; it is not for concurrent use.
type FetchWriter struct{}

// Context ends when the subscriber cancelled.
func (w *FetchWriter) Context() context.Context { return nil }

// WriteObject writes an entry; o.Size is taken from payload.
func (w *FetchWriter) WriteObject(o FetchObject, payload []byte) error { return errBody }

// WriteObjectHeader begins an object of o.Size bytes, which follow in Write calls.
func (w *FetchWriter) WriteObjectHeader(o FetchObject) error { return errBody }

// Write writes payload.
func (w *FetchWriter) Write(p []byte) (int, error) { return 0, errBody }

// Close sends FIN.
func (w *FetchWriter) Close() error { return errBody }

// Reset abandons the response.
func (w *FetchWriter) Reset(code ResetCode) {}

// SubscribeRequest is a peer's SUBSCRIBE.
type SubscribeRequest struct {
	Track  object.TrackName
	State  PublicationState // Start and EndGroup are resolved by Accept
	Tokens []Token
}

// Accept answers SUBSCRIBE_OK. info.Largest decides where relative filters start.
func (r *SubscribeRequest) Accept(info TrackInfo) (*Publication, error) { return nil, errBody }

// Reject answers REQUEST_ERROR.
func (r *SubscribeRequest) Reject(code RequestCode, reason string) error { return errBody }

// PublishRequest is a peer's PUBLISH.
type PublishRequest struct {
	Track   object.TrackName
	Info    TrackInfo
	Forward bool
	Tokens  []Token
}

// Accept answers PUBLISH_OK; o shapes the subscription.
func (r *PublishRequest) Accept(o SubscribeOptions) (*Subscription, error) { return nil, errBody }

// Reject answers REQUEST_ERROR and refuses the track's streams.
func (r *PublishRequest) Reject(code RequestCode, reason string) error { return errBody }

// PublishNamespace announces that tracks below ns can be had here and waits for the answer.
func (s *Session) PublishNamespace(ctx context.Context, ns object.Namespace, tokens ...Token) (*NamespacePublication, error) {
	return nil, errBody
}

// NamespacePublication is an announced namespace.
type NamespacePublication struct{}

// Context ends when the peer cancelled (cause: *RequestError), Done was called, or the session ended.
func (p *NamespacePublication) Context() context.Context { return nil }

// Done withdraws the namespace.
func (p *NamespacePublication) Done() error { return errBody }

// PublishNamespaceRequest is a peer's PUBLISH_NAMESPACE. Its context ends with PUBLISH_NAMESPACE_DONE.
type PublishNamespaceRequest struct {
	Namespace object.Namespace
	Tokens    []Token
}

// Accept answers REQUEST_OK.
func (r *PublishNamespaceRequest) Accept() error { return errBody }

// Reject answers REQUEST_ERROR.
func (r *PublishNamespaceRequest) Reject(code RequestCode, reason string) error { return errBody }

// Cancel revokes acceptance later (PUBLISH_NAMESPACE_CANCEL).
func (r *PublishNamespaceRequest) Cancel(code RequestCode, reason string) error { return errBody }

// NamespaceEvent is a namespace that appeared or, with Done, went away.
type NamespaceEvent struct {
	Namespace object.Namespace // whole, prefix included
	Done      bool
}

// SubscribeNamespaceOptions say what a namespace subscription should bring.
type SubscribeNamespaceOptions struct {
	Publish   bool // PUBLISH of tracks below the prefix, to Handler.Publish
	NoListing bool // no NAMESPACE events (needs Publish)
	NoForward bool // those PUBLISHes start paused
	Tokens    []Token
}

// SubscribeNamespace asks for the namespaces below prefix, present and future.
func (s *Session) SubscribeNamespace(ctx context.Context, prefix object.Namespace, o SubscribeNamespaceOptions) (*NamespaceSubscription, error) {
	return nil, errBody
}

// NamespaceSubscription delivers namespaces.
type NamespaceSubscription struct{}

// Next returns the next event. io.EOF: the publisher ended it.
func (s *NamespaceSubscription) Next(ctx context.Context) (NamespaceEvent, error) {
	return NamespaceEvent{}, errBody
}

// Close ends the subscription.
func (s *NamespaceSubscription) Close() error { return errBody }

// SubscribeNamespaceRequest is a peer's SUBSCRIBE_NAMESPACE. Its context ends when the peer closes its stream.
type SubscribeNamespaceRequest struct {
	Prefix  object.Namespace // may be empty: everything
	Options SubscribeNamespaceOptions
}

// Accept answers REQUEST_OK and returns what namespaces are told with.
func (r *SubscribeNamespaceRequest) Accept() (*NamespaceAnnouncer, error) { return nil, errBody }

// Reject answers REQUEST_ERROR.
func (r *SubscribeNamespaceRequest) Reject(code RequestCode, reason string) error { return errBody }

// NamespaceAnnouncer tells a namespace subscriber what is there; it may be used concurrently.
type NamespaceAnnouncer struct{}

// Context ends when the subscriber left.
func (a *NamespaceAnnouncer) Context() context.Context { return nil }

// Add tells of a namespace, which must have the prefix; telling twice is not an error and sends nothing.
func (a *NamespaceAnnouncer) Add(ns object.Namespace) error { return errBody }

// Remove tells that it went away; a namespace not told of sends nothing.
func (a *NamespaceAnnouncer) Remove(ns object.Namespace) error { return errBody }

// Close ends the response.
func (a *NamespaceAnnouncer) Close() error { return errBody }

// TrackStatus asks what SUBSCRIBE_OK would say, without subscribing.
func (s *Session) TrackStatus(ctx context.Context, track object.TrackName, tokens ...Token) (TrackInfo, error) {
	return TrackInfo{}, errBody
}

// TrackStatusRequest is a peer's TRACK_STATUS.
type TrackStatusRequest struct {
	Track  object.TrackName
	Tokens []Token
}

// Accept answers REQUEST_OK.
func (r *TrackStatusRequest) Accept(info TrackInfo) error { return errBody }

// Reject answers REQUEST_ERROR.
func (r *TrackStatusRequest) Reject(code RequestCode, reason string) error { return errBody }

var _ = wire.Draft16
