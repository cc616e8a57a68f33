package relay

import (
	"context"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// announcement is a PUBLISH_NAMESPACE in force.
type announcement struct {
	s  *session
	ns object.Namespace
}

// announcing returns the sessions that announced a namespace or a prefix of it.
func (r *Relay) announcing(ns object.Namespace) (sessions []*session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[*session]bool)
	for a := range r.announced {
		if ns.HasPrefix(a.ns) && !seen[a.s] {
			seen[a.s] = true
			sessions = append(sessions, a.s)
		}
	}
	return sessions
}

// namespaces returns all that are live or stored.
func (r *Relay) namespaces() map[string]object.Namespace {
	all := make(map[string]object.Namespace)
	for _, n := range r.store.Tracks() {
		all[n.Namespace.String()] = n.Namespace
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.announced {
		all[a.ns.String()] = a.ns
	}
	for _, t := range r.tracks {
		if t.live() {
			all[t.name.Namespace.String()] = t.name.Namespace
		}
	}
	return all
}

// SubscribeNamespace tells the peer what there is below a prefix, now and later.
func (s *session) SubscribeNamespace(ctx context.Context, req *moqt.SubscribeNamespaceRequest) {
	if req.Options.NoListing {
		req.Reject(wire.RequestNotSupported, "tracks are not pushed; ask for namespaces")
		return
	}
	a, err := req.Accept()
	if err != nil {
		return
	}
	r := s.r
	r.mu.Lock()
	r.announcers[a] = req.Prefix
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.announcers, a)
		r.mu.Unlock()
	}()
	for _, ns := range r.namespaces() {
		if ns.HasPrefix(req.Prefix) {
			if a.Add(ns) != nil {
				return
			}
		}
	}
	<-ctx.Done()
}

// namespaceAppeared tells those who asked.
func (r *Relay) namespaceAppeared(ns object.Namespace) {
	r.mu.Lock()
	r.told[ns.String()] = ns
	r.mu.Unlock()
	for a, prefix := range r.listening() {
		if ns.HasPrefix(prefix) {
			a.Add(ns) // an error means that the peer left
		}
	}
}

// namespacesGone takes back what was told and is neither live nor stored any more.
func (r *Relay) namespacesGone() {
	all := r.namespaces()
	r.mu.Lock()
	var gone []object.Namespace
	for key, ns := range r.told {
		if _, ok := all[key]; !ok {
			gone = append(gone, ns)
			delete(r.told, key)
		}
	}
	for key, ns := range all {
		r.told[key] = ns
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	for a, prefix := range r.listening() {
		for _, ns := range gone {
			if ns.HasPrefix(prefix) {
				a.Remove(ns)
			}
		}
	}
}

func (r *Relay) listening() map[*moqt.NamespaceAnnouncer]object.Namespace {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[*moqt.NamespaceAnnouncer]object.Namespace, len(r.announcers))
	for a, p := range r.announcers {
		m[a] = p
	}
	return m
}

// forgetNamespaces takes back namespaces that retention emptied.
func (r *Relay) forgetNamespaces(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.namespacesGone()
		}
	}
}

// live reports whether a track has a publisher.
func (t *track) live() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sources) > 0
}

// wanted reports whether a track has subscribers.
func (t *track) wanted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.subs) > 0
}
