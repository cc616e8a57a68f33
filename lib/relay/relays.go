package relay

import (
	"context"
	"encoding/json"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/mesh"
)

func (r *Relay) relaysCommand(node *iroh.Node) admin.Func {
	return func(_ context.Context, args json.RawMessage) (any, error) {
		if err := admin.Arguments(args, &struct{}{}); err != nil {
			return nil, err
		}
		return r.relays(node), nil
	}
}

func (r *Relay) relays(node *iroh.Node) mesh.Relays {
	all := mesh.Relays{V: 1, Relays: []mesh.Relay{}}
	byAddr := make(map[string]iroh.Peer)
	if node != nil {
		all.PID, all.Starts = node.Process()
		for _, p := range node.Peers() {
			byAddr["iroh://"+p.ID] = p
		}
		done, cancel := context.WithCancel(context.Background())
		cancel()
		if self, err := node.Self(done); err == nil {
			all.Iroh = &self
		}
	}
	there := make(map[string]bool)
	r.mu.Lock()
	for _, u := range r.upstreams {
		n := mesh.Relay{Relay: u.name(), State: "away"}
		if u.s != nil {
			n.State, n.Path, n.Addr = "upstream", u.s.s.Transport(), u.s.s.RemoteAddr().String()
			if u.c.Peer && !u.oneWay {
				n.State = "peer"
			}
			if p, ok := byAddr[n.Addr]; ok {
				n.Path, n.RTT, n.ID, n.Addr = p.Path, p.RTT, p.ID, p.Addr
				there[p.ID] = true
			}
		}
		all.Relays = append(all.Relays, n)
	}
	r.mu.Unlock()
	if node != nil {
		for _, f := range node.Found() {
			if n := (mesh.Relay{Relay: "iroh://" + f.ID, State: "found", ID: f.ID}); !there[f.ID] {
				if len(f.Addrs) > 0 {
					n.Addr = f.Addrs[0]
				}
				all.Relays = append(all.Relays, n)
			}
		}
	}
	if r.mirror != nil {
		all.Mirror = r.mirror.Progress()
	}
	return all
}
