package relay

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/mesh"
)

// home tells publishers apart where they contradict each other (lib/relay/live): who is the publisher itself, by its key or its address, and host
// is what has one vote. Keys are easily made, so a key is a host only if it is listed as a peer's; all others that come by iroh are one
// host. Programs on this machine are hosts of their own: they are the operator's.
func (s *session) home() (who, host string) {
	s.whose.Do(func() { s.who, s.host = s.findHome() })
	return s.who, s.host
}

func (s *session) findHome() (who, host string) {
	id, proved := mesh.IDOf(s.s)
	if !proved {
		if _, err := netip.ParseAddrPort(s.name); err != nil { // of a Unix socket, or in memory
			return s.name + " since " + s.since.UTC().Format("2006-01-02T15:04:05.000000000Z"), hostOf(s.name)
		}
		return s.name, hostOf(s.name)
	}
	who = "key " + id.String()
	if s.r.c.Gate != nil {
		if right, ok := s.r.c.Gate.Peer(s.s.Context(), s.s); ok && right == who {
			return who, who
		}
	}
	return who, hostOf(s.name)
}

// hostOf is the host of an address; of IPv6 it is the network of 64 bits.
func hostOf(address string) string {
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return "no address"
	case at.Addr().IsLoopback():
		return address
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}

// barred reports whether nothing of a session's home enters a track at the moment. Relay.mu is held.
func (r *Relay) barred(track string, s *session) bool {
	t := r.held(track)
	if t == nil {
		return false
	}
	who, _ := s.home()
	return t.Barred(who)
}

// Pardon are the arguments of the command pardon.
type Pardon struct {
	Home string `json:"home,omitempty"` // missing: all homes
}

// Pardoned is the record of the command pardon.
type Pardoned struct {
	V    int    `json:"v"`              // 1
	Home string `json:"home,omitempty"` // missing: all
	Ends int    `json:"ends"`           // quarantines that ended, counted for each track
}

// pardon ends quarantines before their time.
func (r *Relay) pardon(args json.RawMessage) (any, error) {
	var o Pardon
	if err := admin.Arguments(args, &o); err != nil {
		return nil, err
	}
	r.mu.Lock()
	tracks := make([]*track, 0, len(r.tracks))
	for _, t := range r.tracks {
		tracks = append(tracks, t)
	}
	r.mu.Unlock()
	done := Pardoned{V: 1, Home: o.Home}
	for _, t := range tracks {
		if n := t.Pardon(o.Home); n > 0 {
			r.log.Info("quarantine ended by the operator", "track", t.name.String(), "home", o.Home)
			done.Ends += n
		}
	}
	if o.Home != "" && done.Ends == 0 {
		return nil, exit.With(exit.Unreachable, fmt.Errorf("no home %q is quarantined", o.Home), "ec-relay status names those that are")
	}
	r.namespacesChanged()
	return done, nil
}
