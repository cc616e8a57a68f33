package relay

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// Rights decides who may do what; package mesh has one.
type Rights interface {
	// Policy is what everybody may do, and what and who is kept out. It is another one when the relay has read its configuration again.
	Policy() *auth.Policy
	// Grants returns what the tokens that a client showed in its setup let it do, or a *moqt.SessionError.
	Grants(peer moqt.PeerInfo) ([]*auth.Grant, error)
	// Grant does the same for one token of a request; nil without an error if the token says nothing about rights.
	Grant(t moqt.Token, now time.Time) (*auth.Grant, error)
	// ByKey returns what the key that the client has proved lets it do.
	ByKey(s *moqt.Session) ([]*auth.Grant, error)
	// Check returns an error for a grant that is not good any more.
	Check(g *auth.Grant, now time.Time) error
	// Trusted returns what a session may do without a token, or an error that says why it may do nothing.
	Trusted(s *moqt.Session) (*auth.Grant, error)
}

// maxGrants bounds the grants of one session.
const maxGrants = 32

// access is what one session may do: what everybody may, what its tokens let it do, and what its key or its socket does.
type access struct {
	r Rights // nil: it may do everything
	s *session

	confined bool // the session is this relay's own, and may read one namespace alone

	asked   sync.Once // guards the next three
	trusted *auth.Grant
	why     error // why it is not trusted
	known   bool  // both were asked for

	mu      sync.Mutex // guards what follows
	grants  []held
	permits map[*permit]struct{}
	told    map[string]bool // rights by which the session publishes, and that were noted for the operator
	entered bool            // the session has shown all that it comes with, so the policy may judge it
	policy  *auth.Policy    // by which the permits were looked at last
}

// held is a grant, whether the session came with it, and else the token that was shown for it.
type held struct {
	*auth.Grant
	setup bool
	token moqt.Token
}

// permit is something that the session does, for as long as it does it.
type permit struct {
	act   auth.Action
	ns    object.Namespace
	fits  func(*auth.Grant) bool
	grant *auth.Grant // by which it may; nil: everybody may, or the session is trusted
}

// came takes over the grants of the setup and of the client's key.
func (a *access) came(list []*auth.Grant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range list {
		if len(a.grants) < maxGrants && !a.holds(g) {
			a.grants = append(a.grants, held{Grant: g, setup: true})
		}
	}
}

// first is a grant with which the session came; nil: it came with none.
func (a *access) first() *auth.Grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.grants) == 0 {
		return nil
	}
	return a.grants[0].Grant
}

// holds reports whether a grant is there already. One with another end is another one, with which a session renews what it may do. a.mu is held.
func (a *access) holds(g *auth.Grant) bool {
	return slices.ContainsFunc(a.grants, func(h held) bool { return h.By == g.By && h.ID == g.ID && h.Key == g.Key && h.Expires.Equal(g.Expires) })
}

// learn takes over what the tokens of a request say.
func (a *access) learn(tokens []moqt.Token) *moqt.RequestError {
	for _, t := range tokens {
		if a.knows(t) {
			continue
		}
		g, err := a.r.Grant(t, time.Now())
		if err != nil {
			code, reason := mesh.RequestCode(err), err.Error()
			if code == wire.RequestInternalError { // a fault of this relay, whose details are not told to the peer
				a.s.r.log.Error("tickets and tokens cannot be looked at, nobody comes with one", "err", err)
				reason = "tokens cannot be looked at"
			} else {
				a.s.r.log.Log(context.Background(), a.s.r.refusals.Level(), "token refused", "peer", a.s.name, "type", fmt.Sprintf("%#x", t.Type), "why", reason)
			}
			return &moqt.RequestError{Code: code, Reason: reason}
		}
		if g == nil {
			continue
		}
		a.mu.Lock()
		known := a.holds(g)
		full := !known && len(a.grants) >= maxGrants
		if !known && !full {
			a.grants = append(a.grants, held{Grant: g, token: t})
		}
		a.mu.Unlock()
		if full {
			return &moqt.RequestError{Code: wire.RequestUnauthorized, Reason: fmt.Sprintf("more than %d tokens in one session", maxGrants)}
		}
	}
	return nil
}

// knows reports whether a token was shown before and is still good, so that its signature need not be checked with every request.
func (a *access) knows(t moqt.Token) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.grants, func(h held) bool {
		return h.token.Type == t.Type && len(t.Value) > 0 && bytes.Equal(h.token.Value, t.Value) && a.r.Check(h.Grant, time.Now()) == nil
	})
}

// good returns the grants that are good now, and what the session may do without a token.
func (a *access) good() (list []*auth.Grant) {
	a.mu.Lock()
	for _, h := range a.grants {
		if a.r.Check(h.Grant, time.Now()) == nil {
			list = append(list, h.Grant)
		}
	}
	a.mu.Unlock()
	if g := a.trust(); g != nil {
		list = append(list, g)
	}
	return list
}

// trust returns what the session may do without a token; nil: nothing. That is asked for once.
func (a *access) trust() *auth.Grant {
	a.asked.Do(func() {
		g, why := a.r.Trusted(a.s.s)
		a.mu.Lock() // look reads it at any time
		defer a.mu.Unlock()
		a.trusted, a.why, a.known = g, why, true
	})
	return a.trusted
}

// unasked reports whether the session may do everything.
func (a *access) unasked() bool { return a.r == nil || a.s.inside && !a.confined }

// free reports whether the session may do an action on a namespace whatever its grants are.
func (a *access) free(act auth.Action, ns object.Namespace) bool {
	return a.unasked() || a.r.Policy().Everybody(act, ns)
}

// may reports whether the session may do something with a track now, for what this relay does of its own accord and not by a request.
func (a *access) may(act auth.Action, t object.TrackName) bool {
	return a.free(act, t.Namespace) || slices.ContainsFunc(a.good(), onTrack(act, t))
}

// confine lets a session of this relay's own read one namespace, where not everybody may read: its readers were asked for that one.
func (a *access) confine(ns object.Namespace) {
	if a.r == nil {
		return
	}
	a.confined = true
	a.asked.Do(func() { a.trusted = &auth.Grant{By: "http", Scopes: []auth.Scope{auth.Below(auth.ToRead, ns)}} })
}

// begin asks for leave to do something with a namespace or what is in it, with the tokens of the request. release must be called when it is over.
func (a *access) begin(act auth.Action, ns object.Namespace, what string, tokens []moqt.Token, fits func(*auth.Grant) bool) (release func(), refusal *moqt.RequestError) {
	if a.unasked() {
		return func() {}, nil
	}
	if refusal := a.learn(tokens); refusal != nil {
		return nil, refusal
	}
	p := &permit{act: act, ns: ns, fits: fits}
	release = a.permit(p)
	if release == nil && a.trust() != nil {
		release = a.permit(p)
	}
	if release == nil {
		return nil, a.refuse(act, what)
	}
	return release, nil
}

// permit notes what the session does, if it may: because everybody may, by the first grant that allows it, or because it is trusted; nil: it may
// not. That is found out while nobody drops grants, so no permit is left behind by one that has ended.
func (a *access) permit(p *permit) (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.r.Policy().Everybody(p.act, p.ns) {
		i := slices.IndexFunc(a.grants, func(h held) bool { return p.fits(h.Grant) && a.r.Check(h.Grant, time.Now()) == nil })
		switch {
		case i >= 0:
			p.grant = a.grants[i].Grant
		case a.trusted == nil || !p.fits(a.trusted):
			return nil
		}
	}
	if a.permits == nil {
		a.permits = make(map[*permit]struct{})
	}
	if p.act.Writes() {
		a.tellPublisher(p)
	}
	a.permits[p] = struct{}{}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.permits, p)
	}
}

// tellPublisher notes for the operator that the session begins to publish, once for each right by which it does. a.mu is held.
func (a *access) tellPublisher(p *permit) {
	e := auth.Entry{What: "publishes", Who: a.s.name, Subject: p.ns.String(), By: "everybody"}
	switch {
	case p.grant != nil:
		e.Token, e.By = p.grant.ID, p.grant.By
	case !a.r.Policy().Open && a.trusted != nil:
		e.Token, e.By = a.trusted.ID, a.trusted.By
	}
	if by := e.By + " " + e.Token; !a.told[by] {
		if a.told == nil || len(a.told) > 2*maxGrants {
			a.told = make(map[string]bool)
		}
		a.told[by] = true
		a.s.r.c.Audit.AddOf(e)
	}
}

// refuse says, here and to the peer, that the session may not do something.
func (a *access) refuse(act auth.Action, what string) *moqt.RequestError {
	a.mu.Lock()
	shown, ids := len(a.grants), ""
	for _, h := range a.grants {
		ids += " " + h.ID
	}
	a.mu.Unlock()
	reason := "a token of this relay is needed to " + act.String() + " here"
	if shown > 0 {
		reason = "no token that was shown allows to " + act.String() + " this"
	}
	if act.Writes() {
		a.s.r.c.Audit.AddOf(auth.Entry{What: "publish-refused", Who: a.s.name, Token: strings.TrimSpace(ids), Subject: what, Err: reason})
	}
	a.s.r.log.Log(context.Background(), a.s.r.refusals.Level(), "refused, not allowed", "peer", a.s.name, "to", act.String(), "what", what, "tokens", shown, "err", a.why,
		"hint", "ec-relay token make makes a token, ec-relay ticket a ticket")
	return &moqt.RequestError{Code: wire.RequestUnauthorized, Reason: reason}
}

// look drops the grants that are not good any more. It returns why the session must end: because it came with one of these and has no other,
// or is an upstream by it, or does something that no other grant allows, or because the policy, which is another one now, allows less; nil if it
// may stay.
func (a *access) look(now time.Time) *moqt.SessionError {
	if a.r == nil {
		return nil
	}
	upstream := a.s.isAdopted()
	a.mu.Lock()
	defer a.mu.Unlock()
	why := a.lookAtPolicy()
	if why != nil && !a.known { // perhaps it is trusted
		a.mu.Unlock()
		a.trust()
		a.mu.Lock()
		a.policy = nil
		why = a.lookAtPolicy()
	}
	if why != nil {
		return why
	}
	var ended []held
	var over error
	a.grants = slices.DeleteFunc(a.grants, func(h held) bool {
		err := a.r.Check(h.Grant, now)
		if err == nil || mesh.SessionCode(err) == wire.InternalError { // of a disk that cannot be read just now nobody is put out
			return false
		}
		ended, over = append(ended, h), cmp.Or(over, err)
		return true
	})
	if len(ended) == 0 {
		return nil
	}
	out := &moqt.SessionError{Code: mesh.SessionCode(over), Reason: over.Error()}
	for p := range a.permits {
		if slices.ContainsFunc(ended, func(h held) bool { return h.Grant == p.grant }) && !a.stands(p) {
			return out
		}
	}
	if (len(a.grants) == 0 || upstream) && slices.ContainsFunc(ended, func(h held) bool { return h.setup }) {
		return out
	}
	return nil
}

// stands looks for another right to do what a permit is for. a.mu is held.
func (a *access) stands(p *permit) bool {
	p.grant = nil
	if a.r.Policy().Everybody(p.act, p.ns) {
		return true
	}
	if i := slices.IndexFunc(a.grants, func(h held) bool { return p.fits(h.Grant) }); i >= 0 {
		p.grant = a.grants[i].Grant
		return true
	}
	return a.trusted != nil && p.fits(a.trusted)
}

// lookAtPolicy returns why the session must end by a policy that is another one than when that was asked last. a.mu is held.
func (a *access) lookAtPolicy() *moqt.SessionError {
	policy := a.r.Policy()
	if !a.entered || policy == a.policy || a.s.inside || a.s.up != nil {
		return nil
	}
	a.policy = policy
	if why := policy.Refuses(a.peer()); why != "" {
		return &moqt.SessionError{Code: wire.Unauthorized, Reason: why}
	}
	for p := range a.permits {
		if p.grant == nil && !a.stands(p) {
			return &moqt.SessionError{Code: wire.Unauthorized, Reason: "a token of this relay is needed to " + p.act.String() + " here now"}
		}
	}
	return nil
}

// peer is who is at the other end. a.mu is held.
func (a *access) peer() auth.Peer {
	p := mesh.PeerOf(a.s.s)
	for _, h := range a.grants {
		p.Tokens = append(p.Tokens, h.ID)
	}
	return p
}

// enter returns why the policy keeps out the peer of a session that has just begun.
func (a *access) enter() *moqt.SessionError {
	if a.r == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entered, a.policy = true, nil
	return a.lookAtPolicy()
}

// lookInterval is how often grants are looked at: one that is not good any more ends what it allowed within a second.
const lookInterval = 500 * time.Millisecond

// watchGrants ends sessions whose grants are not good any more, until ctx ends.
func (r *Relay) watchGrants(ctx context.Context) {
	each(ctx, lookInterval, func(now time.Time) { r.lookAtGrants(now) })
}

// each calls f every so often, until ctx ends.
func each(ctx context.Context, interval time.Duration, f func(now time.Time)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f(now)
		}
	}
}

// lookAtGrants does it once, and returns how many sessions ended.
func (r *Relay) lookAtGrants(now time.Time) (ended int) {
	if r.c.Rights == nil {
		return 0
	}
	r.mu.Lock()
	all := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		all = append(all, s)
	}
	r.mu.Unlock()
	for _, s := range all {
		if why := s.access.look(now); why != nil {
			r.log.Warn("session ended", "peer", s.name, "why", why.Reason)
			s.s.Close(why.Code, why.Reason)
			ended++
		}
	}
	return ended
}

// guard lets a session's peer do only what it may.
type guard struct{ *session }

func onTrack(a auth.Action, t object.TrackName) func(*auth.Grant) bool {
	return func(g *auth.Grant) bool { return g.Track(a, t) }
}

func onNamespace(a auth.Action, ns object.Namespace) func(*auth.Grant) bool {
	return func(g *auth.Grant) bool { return g.Namespace(a, ns) }
}

// plain is the track that a FETCH is about: one that lists the groups of a track is about that track.
func plain(t object.TrackName) object.TrackName {
	if len(t.Namespace) > 1 && t.Namespace[0] == mesh.InventoryField {
		t.Namespace = t.Namespace[1:]
	}
	return t
}

// allowed asks for leave to do something with a track, and refuses the request if there is none.
func (h guard) allowed(a auth.Action, t object.TrackName, tokens []moqt.Token, reject func(moqt.RequestCode, string) error) (release func(), ok bool) {
	t = h.named(t)
	if a == auth.Fetch {
		t = plain(t)
	}
	if b := h.r.ban(t); b != nil {
		h.banned(a, t.String(), b, reject)
		if a == auth.Publish {
			h.turnAway(t)
		}
		return nil, false
	}
	fits := onTrack(a, t)
	if a == auth.TrackStatus { // what it tells, the answers to these tell, too
		fits = func(g *auth.Grant) bool { return g.Track(a, t) || g.Track(auth.Subscribe, t) || g.Track(auth.Fetch, t) }
	}
	release, refusal := h.access.begin(a, t.Namespace, t.String(), tokens, fits)
	if refusal != nil {
		reject(refusal.Code, refusal.Reason)
		return nil, false
	}
	return release, true
}

// banned refuses what nobody may do.
func (h guard) banned(a auth.Action, what string, b *ban, reject func(moqt.RequestCode, string) error) {
	code := wire.RequestUnauthorized
	if a.Writes() {
		code = b.refusal
		h.r.c.Audit.AddOf(auth.Entry{What: "publish-refused", Who: h.name, Subject: what, Err: b.why})
	}
	h.r.log.Log(context.Background(), h.r.refusals.Level(), "refused", "peer", h.name, "to", a.String(), "what", what, "why", b.why)
	reject(code, b.why)
}

// Publish takes a track if the peer may publish it.
func (h guard) Publish(ctx context.Context, r *moqt.PublishRequest) {
	if h.reader {
		r.Reject(wire.RequestUnauthorized, readersOnly)
		return
	}
	if release, ok := h.allowed(auth.Publish, r.Track, r.Tokens, r.Reject); ok {
		defer release()
		if over, ok := h.takes(limits.Tracks, r.Reject); ok {
			defer over()
			h.session.Publish(ctx, r)
		}
	}
}

// Subscribe serves a track if the peer may read it.
func (h guard) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	if release, ok := h.allowed(auth.Subscribe, r.Track, r.Tokens, r.Reject); ok {
		defer release()
		if over, ok := h.takes(limits.Subscriptions, r.Reject); ok {
			defer over()
			h.session.Subscribe(ctx, r)
		}
	}
}

// Fetch does the same for what is past.
func (h guard) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	if release, ok := h.allowed(auth.Fetch, r.Track, r.Tokens, r.Reject); ok {
		defer release()
		if over, ok := h.takes(limits.Fetches, r.Reject); ok {
			defer over()
			h.session.Fetch(ctx, r)
		}
	}
}

// TrackStatus answers if the peer may ask.
func (h guard) TrackStatus(ctx context.Context, r *moqt.TrackStatusRequest) {
	if release, ok := h.allowed(auth.TrackStatus, r.Track, r.Tokens, r.Reject); ok {
		defer release()
		h.session.TrackStatus(ctx, r)
	}
}

// PublishNamespace notes a namespace if the peer may publish all of it.
func (h guard) PublishNamespace(ctx context.Context, r *moqt.PublishNamespaceRequest) {
	if h.reader {
		r.Reject(wire.RequestUnauthorized, readersOnly)
		return
	}
	if b := h.r.banBelow(r.Namespace); b != nil && !b.taken { // what is taken down is refused track by track: a publisher goes on with others
		h.banned(auth.PublishNamespace, r.Namespace.String(), b, r.Reject)
		return
	}
	release, refusal := h.access.begin(auth.PublishNamespace, r.Namespace, r.Namespace.String(), r.Tokens, onNamespace(auth.PublishNamespace, r.Namespace))
	if refusal != nil {
		r.Reject(refusal.Code, refusal.Reason)
		return
	}
	defer release()
	if over, ok := h.takes(limits.Namespaces, r.Reject); ok {
		defer over()
		h.session.PublishNamespace(ctx, r)
	}
}

// Tokens takes over what the tokens of an update say: so a session can renew its token while it goes on.
func (h guard) Tokens(tokens []moqt.Token) *moqt.RequestError {
	if h.access.unasked() {
		return nil
	}
	return h.access.learn(tokens)
}

// SubscribeNamespace tells the peer of the namespaces, or sends it the tracks, that it may read. A relay that asks for routes must be allowed
// to read everything.
func (h guard) SubscribeNamespace(ctx context.Context, r *moqt.SubscribeNamespaceRequest) {
	act, prefix := auth.SubscribeNamespace, r.Prefix
	if r.Options.NoListing {
		act = auth.Subscribe
	}
	fits := func(g *auth.Grant) bool { return g.Touches(act, prefix) }
	if len(prefix) > 0 && prefix[0] == routesField {
		fits = func(g *auth.Grant) bool { return g.Everything(act) }
	}
	release, refusal := h.access.begin(act, append(object.Namespace{}, prefix...), prefix.String(), r.Options.Tokens, fits)
	if refusal != nil {
		r.Reject(refusal.Code, refusal.Reason)
		return
	}
	defer release()
	if over, ok := h.takes(limits.Lists, r.Reject); ok {
		defer over()
		h.session.SubscribeNamespace(ctx, r)
	}
}

// visible leaves out the namespaces of which the peer may not know, also where they stand in routes.
func (s *session) visible(all map[string]object.Namespace) map[string]object.Namespace {
	if s.access.free(auth.SubscribeNamespace, nil) {
		return all
	}
	may := s.access.good()
	for key, ns := range all {
		if ns, ok := told(ns); ok && !s.access.free(auth.SubscribeNamespace, ns) && !slices.ContainsFunc(may, onNamespace(auth.SubscribeNamespace, ns)) {
			delete(all, key)
		}
	}
	return all
}

// told returns the namespace that an entry of a list tells of; false: it tells of a relay.
func told(ns object.Namespace) (object.Namespace, bool) {
	if len(ns) == 0 || ns[0] != routesField {
		return ns, true
	}
	if r, ok := parseRoute(ns); ok {
		return r.ns, true
	}
	if r, ok := parseTrackRoute(ns); ok {
		return r.track.Namespace, true
	}
	return nil, false
}

var (
	_ moqt.Handler      = guard{}
	_ moqt.TokenHandler = guard{}
)
