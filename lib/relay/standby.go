package relay

import (
	"context"
	"log/slog"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
)

// A publisher that offers a track with FORWARD 0 is a standby (docs/format/standby.md): package live says when it is to send, and from where
// on, and this file tells it.

// standby is what a source has that is one.
type standby struct {
	orders chan live.Order // the last one that was not carried out
}

// reserve makes a source a standby, before it is attached.
func (src *source) reserve() {
	src.standby = &standby{orders: make(chan live.Order, 1)}
	src.Standby = true
	src.Tell = func(o live.Order) {
		for {
			select {
			case src.standby.orders <- o:
				return
			default:
			}
			select {
			case <-src.standby.orders: // another order has come before this one was carried out
			default:
			}
		}
	}
}

// watch gives the standbys of the source's track their orders, for as long as the source is one of them.
func (src *source) watch(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		orders, again := src.t.Relieve(time.Now(), src.t.r.demandFor(src.t))
		for _, o := range orders {
			o.Source.Tell(o)
		}
		timer.Reset(again)
		select {
		case <-ctx.Done():
			return
		case <-src.t.Stirred():
		case <-timer.C:
		}
	}
}

// obey tells the publisher what it is ordered to do.
func (src *source) obey(ctx context.Context) {
	log := src.t.r.log.With("track", src.t.name.String(), "standby", src.Name)
	for {
		var o live.Order
		select {
		case <-ctx.Done():
			return
		case o = <-src.standby.orders:
		}
		forward := !o.Rest
		u := moqt.UpdateOptions{Forward: &forward}
		if o.Rest {
			log.Info("standby rests", "why", o.Why)
		} else {
			level := slog.LevelDebug
			if !o.Again {
				src.t.r.stats.takeovers.Add(1)
				level = slog.LevelInfo
			}
			log.Log(ctx, level, "standby is asked", "from", o.From.String(), "why", o.Why)
			u.Filter = &moqt.Filter{Type: wire.FilterAbsoluteStart, Start: o.From}
		}
		if err := src.sub.Update(ctx, u); err != nil && ctx.Err() == nil {
			log.Warn("standby does not do what it is asked", "err", err) // its subscription ends with that
		}
		src.t.r.namespacesChanged()
	}
}

// demandFor says who wants a track that has a standby.
func (r *Relay) demandFor(t *track) live.Demand {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.ways(t)) > 0:
		return live.Watched
	case r.liveElsewhere(t.name.Namespace):
		return live.Elsewhere
	}
	return live.Kept
}

// liveElsewhere reports whether an upstream tells of a relay at which a namespace is live, with a publisher that sends. Relay.mu is held.
func (r *Relay) liveElsewhere(ns object.Namespace) bool {
	for _, u := range r.usable() {
		if !u.ours || u.self {
			continue
		}
		for _, w := range u.ways[ns.String()] {
			if n := len(w.path); w.live && n > 0 && (n == 1 || w.path[n-1] != w.path[n-2]) {
				return true
			}
		}
	}
	return false
}

// resting returns the namespaces of which tracks are kept back by standbys here, and no such track is sent. Relay.mu is held.
func (r *Relay) resting(now time.Time) map[string]bool {
	all := make(map[string]bool)
	for _, t := range r.tracks {
		if !t.HasStandby() {
			continue
		}
		key := t.name.Namespace.String()
		rests, known := all[key]
		all[key] = (rests || !known) && !t.Sending(now)
	}
	return all
}
