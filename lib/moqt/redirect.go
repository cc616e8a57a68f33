package moqt

import "every.channel/ec/lib/moqt/wire"

// Redirect answers with REQUEST_ERROR that the request may succeed elsewhere: at another URI, which only a server may name,
// or as another track (draft-18 §10.6.1). Draft 16 cannot say so; there the track does not exist.
func (r *SubscribeRequest) Redirect(to Redirect, reason string) error {
	return r.in.redirect(to, reason)
}

// Redirect answers that the fetch may succeed elsewhere, as SubscribeRequest.Redirect does.
func (r *FetchRequest) Redirect(to Redirect, reason string) error { return r.in.redirect(to, reason) }

// Redirect answers that the track's status may be known elsewhere, as SubscribeRequest.Redirect does.
func (r *TrackStatusRequest) Redirect(to Redirect, reason string) error {
	return r.in.redirect(to, reason)
}

// Redirect answers that the namespace may be published elsewhere. Its Track has no name.
func (r *PublishNamespaceRequest) Redirect(to Redirect, reason string) error {
	if to.Track.Name != "" {
		return wire.ErrValue
	}
	return r.in.redirect(to, reason)
}

// Redirect answers that the namespaces may be listed elsewhere. Its Track has no name.
func (r *SubscribeNamespaceRequest) Redirect(to Redirect, reason string) error {
	if to.Track.Name != "" {
		return wire.ErrValue
	}
	return r.in.redirect(to, reason)
}

// Redirect sends the publisher elsewhere, as SubscribeRequest.Redirect does. The draft does not list the code for PUBLISH;
// package client follows it all the same.
func (r *PublishRequest) Redirect(to Redirect, reason string) error {
	err := r.in.redirect(to, reason)
	if err != ErrAnswered {
		r.sub.end(ErrClosed)
	}
	return err
}

func (r *request) redirect(to Redirect, reason string) error {
	if r.s.client && to.URI != "" {
		return wire.ErrValue // a client may not send its server elsewhere
	}
	return r.refuse(&wire.RequestError{RequestID: r.id, Code: wire.RequestRedirect, Reason: reason, Redirect: &to})
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
