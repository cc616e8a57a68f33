package relay

import (
	"context"
	"errors"
	"maps"
	"sync"
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

// announcing returns the sessions that have announced a namespace or a prefix of it.
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
	defer maps.DeleteFunc(all, func(_ string, ns object.Namespace) bool { return r.banBelow(ns) != nil })
	for _, n := range r.store.Tracks() {
		all[n.Namespace.String()] = n.Namespace
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.announced {
		all[a.ns.String()] = a.ns
	}
	for _, t := range r.tracks {
		if t.Live() {
			all[t.name.Namespace.String()] = t.name.Namespace
		}
	}
	for _, u := range r.upstreams {
		for _, n := range u.routes {
			if len(n.ns) > 0 {
				all[n.ns.String()] = n.ns
			}
		}
	}
	return all
}

// maxListings bounds the requests of one peer for namespaces or tracks: for each, all namespaces are remembered.
const maxListings = 64

// SubscribeNamespace tells the peer which namespaces there are below a prefix, and then which come and go; or it pushes the tracks.
func (s *session) SubscribeNamespace(ctx context.Context, req *moqt.SubscribeNamespaceRequest) {
	r := s.r
	list := r.namespaces
	if len(req.Prefix) > 0 && req.Prefix[0] == routesField { // a relay asks
		list = r.routes
		if isPeer(req.Options.Tokens) {
			word := s.adopt(ctx)
			list = func() map[string]object.Namespace {
				all := r.routes()
				n := object.Namespace{routesField, statePeer, word}
				all[n.String()] = n
				return all
			}
		}
	}
	defer s.listings.Add(-1)
	if s.listings.Add(1) > maxListings {
		req.Reject(wire.RequestExcessiveLoad, "too many requests for namespaces or tracks")
		return
	}
	every := list
	list = func() map[string]object.Namespace { return s.visible(every()) }
	a, err := req.AcceptAny()
	if err != nil {
		return
	}
	if req.Options.Publish {
		wake, unlisten := r.listen()
		defer unlisten()
		p := &pusher{s: s, a: a, noForward: req.Options.NoForward}
		if req.Options.NoListing {
			p.push(ctx, wake)
			return
		}
		var pushing sync.WaitGroup
		defer pushing.Wait()
		pushing.Go(func() { p.push(ctx, wake) })
	}
	wake, unlisten := r.listen()
	defer unlisten()
	told := make(map[string]object.Namespace)
	for {
		began := time.Now()
		now := list()
		for key, ns := range now {
			if _, ok := told[key]; !ok {
				told[key] = ns
				err = errors.Join(err, a.Add(ns))
			}
		}
		for key, ns := range told {
			if _, ok := now[key]; !ok {
				delete(told, key)
				err = errors.Join(err, a.Remove(ns))
			}
		}
		if err != nil { // the peer left
			return
		}
		rest(ctx, began)
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

// longestRest bounds the pause of rest.
const longestRest = 2 * time.Second

// rest waits four times as long as some work took. So work that is done again after every change takes a fifth of the time at
// most, however much changes.
func rest(ctx context.Context, began time.Time) {
	pause := min(4*time.Since(began), longestRest)
	if pause < time.Millisecond {
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// listen gives a channel that namespacesChanged wakes, until unlisten is called.
func (r *Relay) listen() (wake <-chan struct{}, unlisten func()) {
	c := make(chan struct{}, 1)
	r.mu.Lock()
	r.listeners[c] = struct{}{}
	r.mu.Unlock()
	return c, func() {
		r.mu.Lock()
		delete(r.listeners, c)
		r.mu.Unlock()
	}
}

// namespacesChanged wakes the sessions that tell their peers of namespaces. It does not wait for them.
func (r *Relay) namespacesChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for wake := range r.listeners {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// watchRetention lets sessions take back namespaces when retention has removed the last group below them.
func (r *Relay) watchRetention(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.namespacesChanged()
			r.limits.Sweep()
		}
	}
}
