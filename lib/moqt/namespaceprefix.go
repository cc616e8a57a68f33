package moqt

import (
	"context"
	"errors"
	"slices"
	"sync"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// From draft 18 on a namespace subscription may get another prefix (§10.9.2): after REQUEST_OK, suffixes are relative to it. The
// text does not say what becomes of namespaces told of before. A publisher of ours tells of all that have the new prefix again; a
// subscriber takes those that have it for known, and the others for gone.

// errUpdated: the prefix changed.
var errUpdated = errors.New("updated")

// prefixOf is the prefix of a namespace subscription, and those asked for instead whose answers are awaited.
type prefixOf struct {
	now   object.Namespace   // for who reads the stream
	mu    sync.Mutex         // guards what follows and orders updates: held while they are sent; credit.mu and requestTable.mu are taken under it
	asked []object.Namespace // in order
}

// UpdatePrefix asks for another prefix, from draft 18 on. It does not wait for the answer, which Next reads: then Next tells as gone
// what does not have the new prefix, and goes on with what does. A refusal ends the subscription. Of a subscription to namespaces and
// tracks each part is asked.
func (sub *NamespaceSubscription) UpdatePrefix(ctx context.Context, prefix object.Namespace) error {
	return sub.s.ways.updatePrefix(sub, ctx, prefix)
}

func (sub *NamespaceSubscription) updatePrefix(ctx context.Context, prefix object.Namespace) error {
	if err := wire.CheckNamespace(prefix, 0); err != nil {
		return err
	}
	prefix = slices.Clone(prefix)
	if sub.tracks != nil {
		if err := sub.pushed.ask(ctx, sub.tracks, prefix); err != nil {
			return err
		}
	}
	return sub.prefix.ask(ctx, sub.r, prefix)
}

func (p *prefixOf) ask(ctx context.Context, r *request, prefix object.Namespace) error {
	if err := r.mayUpdate(ctx); err != nil {
		return err
	}
	p.mu.Lock() // until it is known that an answer may come
	defer p.mu.Unlock()
	err := r.s.carrier.number(ctx, func(id uint64) error {
		return r.st.send(&wire.RequestUpdate{RequestID: id, Parameters: wire.Parameters{NamespacePrefix: &prefix}})
	})
	if err != nil {
		r.updated()
		return err
	}
	p.asked = append(p.asked, prefix)
	return nil
}

// answer takes the answer to the oldest update. false: m is none.
func (p *prefixOf) answer(s *Session, m wire.Message) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		return false, nil
	}
	update := requestOf((*wire.RequestUpdate)(nil))
	switch m := m.(type) {
	case *wire.RequestOK:
		s.count.request(sent, update, accepted)
		p.now, p.asked = p.asked[0], p.asked[1:]
		return true, nil
	case *wire.RequestError:
		s.count.request(sent, update, refused)
		p.asked = nil
		return true, requestError(m)
	}
	return false, nil
}

// narrow takes namespaces without the prefix for gone.
func (sub *NamespaceSubscription) narrow() {
	for key, ns := range sub.known {
		if !ns.HasPrefix(sub.prefix.now) {
			delete(sub.known, key)
			sub.left = append(sub.left, ns)
		}
	}
}

// AcceptAny is Accept for those who can serve any prefix: Add and Remove are to be told of all namespaces there are, and send those
// with the prefix in force. Updates tells when that changed, for those who PUBLISH what is below it.
func (r *SubscribeNamespaceRequest) AcceptAny() (*NamespaceAnnouncer, error) {
	return r.accept(map[string]object.Namespace{})
}

// Prefix is the prefix in force.
func (a *NamespaceAnnouncer) Prefix() object.Namespace {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prefix
}

// Updates is sent a value when the prefix changed.
func (a *NamespaceAnnouncer) Updates() <-chan struct{} { return a.changed }

// move accepts an update with another prefix, or says why it is refused.
func (r *SubscribeNamespaceRequest) move(prefix object.Namespace, accept func(wire.Parameters)) *RequestError {
	a := r.announcer.Load()
	if a == nil || a.all == nil {
		return &RequestError{Code: wire.RequestNotSupported, Reason: "the prefix cannot be changed"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if refusal := r.in.s.requests.claim(r.in, prefix); refusal != nil {
		return refusal
	}
	accept(wire.Parameters{})
	a.prefix, a.told = prefix, map[string]struct{}{}
	signal(a.changed)
	if r.Options.NoListing {
		return nil
	}
	for key, ns := range a.all {
		if !ns.HasPrefix(prefix) {
			continue
		}
		a.told[key] = struct{}{}
		if r.in.st.send(&wire.Namespace{Suffix: ns[len(prefix):]}) != nil {
			return nil // the stream is broken, which its reader sees
		}
	}
	return nil
}
