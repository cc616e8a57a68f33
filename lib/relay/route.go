package relay

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// Relays tell each other of a namespace together with the relays on the way to it. So relays in a ring neither send news back to
// where it came from, nor keep a namespace alive that no relay has any more. The wire forms are in docs/format/chain.md.

const (
	routesField = ".ec-routes"     // asks for namespaces in this form
	hopsToken   = 0x65632d686f7073 // "ec-hops": type of the token that names the relays a request came through
	maxHops     = 8
	idLength    = 16 // hex digits of a relay's id
)

// Fields after routesField.
const (
	stateRelay  = "relay" // followed by the id of the relay that speaks
	stateLive   = "live"  // somebody publishes below the namespace
	stateStored = "stored"
	stateTrack  = "track" // a track of which something is stored, or that somebody publishes
)

// route is a namespace as one relay tells another of it.
type route struct {
	ns   object.Namespace
	live bool     // somebody publishes below it; false: its stored objects can be fetched
	path []string // ids of the relays on the way, from the one that tells to the one that has the namespace; empty: not known
}

// trackRoute is a track as one relay tells another of it.
type trackRoute struct {
	track object.TrackName
	path  []string
}

// trackMark stands before the name of a track, because the name may be empty and a field may not.
const trackMark = "="

func (r trackRoute) namespace() object.Namespace {
	return append(object.Namespace{routesField, stateTrack, strings.Join(r.path, "."), trackMark + r.track.Name}, r.track.Namespace...)
}

// parseTrackRoute reads a trackRoute that another relay told.
func parseTrackRoute(ns object.Namespace) (r trackRoute, ok bool) {
	if len(ns) < 5 || ns[0] != routesField || ns[1] != stateTrack || !strings.HasPrefix(ns[3], trackMark) {
		return r, false
	}
	r.track = object.TrackName{Namespace: ns[4:], Name: ns[3][len(trackMark):]}
	r.path, ok = parseHops(ns[2])
	return r, ok && len(r.path) > 0
}

func newRelayID() string {
	var b [idLength / 2]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// namespace returns the route as a namespace, the form in which it is told.
func (r route) namespace() object.Namespace {
	state := stateStored
	if r.live {
		state = stateLive
	}
	return append(object.Namespace{routesField, state, strings.Join(r.path, ".")}, r.ns...)
}

// parseRoute reads a route that another relay told. ok is false if the namespace is no route, or its path is too long.
func parseRoute(ns object.Namespace) (r route, ok bool) {
	if len(ns) < 4 || ns[0] != routesField || ns[1] != stateLive && ns[1] != stateStored {
		return route{}, false
	}
	r = route{ns: ns[3:], live: ns[1] == stateLive}
	r.path, ok = parseHops(ns[2])
	return r, ok && len(r.path) > 0
}

// parseHops reads ids joined by dots.
func parseHops(s string) ([]string, bool) {
	if s == "" {
		return nil, true
	}
	if len(s) > maxHops*(idLength+1) {
		return nil, false
	}
	ids := strings.Split(s, ".")
	return ids, len(ids) <= maxHops && !slices.ContainsFunc(ids, func(id string) bool { return !isRelayID(id) })
}

func isRelayID(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == idLength
}

// hopsOf returns the relays that a request came through, the first one first.
func hopsOf(tokens []moqt.Token) []string {
	for _, t := range tokens {
		if t.Type == hopsToken {
			if hops, ok := parseHops(string(t.Value)); ok {
				return hops
			}
		}
	}
	return nil
}

func hopTokens(hops []string) []moqt.Token {
	return []moqt.Token{{AliasType: wire.TokenUseValue, Type: hopsToken, Value: []byte(strings.Join(hops, "."))}}
}

// better reports whether route a goes before route b: it passes fewer relays, or as many and comes first in an order that is
// always the same.
func (a route) better(b route) bool {
	if len(a.path) != len(b.path) {
		return len(a.path) < len(b.path)
	}
	return slices.Compare(a.path, b.path) < 0
}

// routes returns what this relay tells other relays, as namespaces: for each namespace the best route to where it is live, and
// the best route to where it is stored.
func (r *Relay) routes() map[string]object.Namespace {
	best := make(map[string]route)
	add := func(n route) {
		if r.banBelow(n.ns) != nil {
			return
		}
		key := n.ns.String()
		if n.live {
			key = "live " + key
		}
		if old, ok := best[key]; (!ok || n.better(old)) && len(n.path) <= maxHops && wire.CheckNamespace(n.namespace(), 1) == nil {
			best[key] = n
		}
	}
	tracks := make(map[string]trackRoute)
	addTrack := func(n trackRoute) {
		if r.ban(n.track) != nil {
			return
		}
		key := n.track.String()
		old, ok := tracks[key]
		better := !ok || len(n.path) < len(old.path) || len(n.path) == len(old.path) && slices.Compare(n.path, old.path) < 0
		if better && len(n.path) <= maxHops && wire.CheckNamespace(n.namespace(), 1) == nil {
			tracks[key] = n
		}
	}
	own := []string{r.id}
	for _, n := range r.store.Tracks() {
		add(route{ns: n.Namespace, path: own})
		addTrack(trackRoute{n, own})
	}
	r.mu.Lock()
	resting := r.resting(time.Now())
	way := func(ns object.Namespace) []string { // to where a namespace is live
		if resting[ns.String()] {
			return []string{r.id, r.id}
		}
		return own
	}
	for a := range r.announced {
		add(route{ns: a.ns, live: true, path: way(a.ns)})
	}
	for _, t := range r.tracks {
		if t.Local() {
			add(route{ns: t.name.Namespace, live: true, path: way(t.name.Namespace)})
			addTrack(trackRoute{t.name, own})
		}
	}
	// Other relays take routes only up to a bound. So upstreams that tell of little come first, and one that tells of much takes
	// no room from them.
	ups := slices.SortedFunc(slices.Values(r.upstreams), func(a, b *upstream) int {
		return cmp.Compare(len(a.routes)+len(a.tracks), len(b.routes)+len(b.tracks))
	})
	for _, u := range ups {
		for _, n := range u.routes {
			if len(n.ns) > 0 && len(best) < maxRoutes {
				add(route{ns: n.ns, live: n.live, path: append([]string{r.id}, n.path...)})
			}
		}
		for _, n := range u.tracks {
			if len(tracks) < maxTracks {
				addTrack(trackRoute{n.track, append([]string{r.id}, n.path...)})
			}
		}
	}
	r.mu.Unlock()
	all := make(map[string]object.Namespace, len(best)+1)
	self := object.Namespace{routesField, stateRelay, r.id}
	all[self.String()] = self
	for _, n := range best {
		ns := n.namespace()
		all[ns.String()] = ns
	}
	for _, n := range tracks {
		ns := n.namespace()
		all[ns.String()] = ns
	}
	return all
}
