package moqt

import (
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// Redirect answers with REQUEST_ERROR that the request may succeed elsewhere: at another URI, which only a server may name,
// or as another track (draft-18 §10.6.1). Draft 16 cannot say so; there the track does not exist.
func (r *SubscribeRequest) Redirect(to Redirect, reason string) error {
	return r.in.redirect(to, r.Track, reason)
}

// Redirect answers that the fetch may succeed elsewhere, as SubscribeRequest.Redirect does.
func (r *FetchRequest) Redirect(to Redirect, reason string) error {
	return r.by.session().redirect(r.by, to, r.Track, reason)
}

// Redirect answers that the track's status may be known elsewhere, as SubscribeRequest.Redirect does.
func (r *TrackStatusRequest) Redirect(to Redirect, reason string) error {
	return r.by.session().redirect(r.by, to, r.Track, reason)
}

// Redirect answers that the namespace may be published elsewhere. Its Track has no name.
func (r *PublishNamespaceRequest) Redirect(to Redirect, reason string) error {
	if to.Track.Name != "" {
		return wire.ErrValue
	}
	return r.in.redirect(to, object.TrackName{Namespace: r.Namespace}, reason)
}

// Redirect answers that the namespaces may be listed elsewhere. Its Track has no name.
func (r *SubscribeNamespaceRequest) Redirect(to Redirect, reason string) error {
	if to.Track.Name != "" {
		return wire.ErrValue
	}
	return r.in.redirect(to, object.TrackName{Namespace: r.Prefix}, reason)
}

// Redirect sends the publisher elsewhere, as SubscribeRequest.Redirect does. The draft does not list the code for PUBLISH;
// package client follows it all the same.
func (r *PublishRequest) Redirect(to Redirect, reason string) error {
	err := r.in.redirect(to, r.Track, reason)
	if err != ErrAnswered {
		r.sub.end(ErrClosed)
	}
	return err
}

func (r *request) redirect(to Redirect, of object.TrackName, reason string) error {
	return r.s.redirect(r, to, of, reason)
}

// refuser is a request of the peer, or what stands for one.
type refuser interface {
	number() uint64
	refuse(m *wire.RequestError) error
}

// redirect refuses a request about a name because it may succeed elsewhere.
func (s *Session) redirect(r refuser, to Redirect, of object.TrackName, reason string) error {
	if s.client && to.URI != "" {
		return wire.ErrValue // a client may not send its server elsewhere
	}
	if len(to.Track.Namespace) == 0 && to.Track.Name == "" { // from draft 20 on that does not stand for what was asked for
		to.Track = of
	}
	return r.refuse(&wire.RequestError{RequestID: r.number(), Code: wire.RequestRedirect, Reason: reason, Redirect: &to})
}

// checkRedirect says what is wrong with the place an own request is sent to; scoped: it was for a namespace.
func (s *Session) checkRedirect(to *Redirect, scoped bool) error {
	switch {
	case to == nil:
		return nil
	case !s.client && to.URI != "":
		return violation("REDIRECT with a URI from a client")
	case scoped && to.Track.Name != "":
		return violation("REDIRECT of a namespace to track %q", to.Track.Name)
	}
	return nil
}
