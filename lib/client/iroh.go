package client

import (
	"context"
	"encoding/hex"
	"log/slog"
	"sync"

	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// DialIroh dials the relay of a ticket over iroh, through a node.
type DialIroh = func(ctx context.Context, t *ticket.Ticket, conf *moqt.Config) (*moqt.Session, error)

// OverIroh dials the relays of tickets through a node.
func OverIroh(n *iroh.Node) DialIroh {
	return func(ctx context.Context, t *ticket.Ticket, conf *moqt.Config) (*moqt.Session, error) {
		versions := conf.Versions
		if len(versions) == 0 {
			versions = wire.Versions()
		}
		var alpns []string
		for _, v := range versions {
			alpns = append(alpns, v.ALPN())
		}
		id := hex.EncodeToString(t.Iroh[:])
		nc, alpn, err := n.Dial(ctx, id, t.IrohAddrs, t.IrohRelay, alpns)
		if err != nil {
			return nil, err
		}
		c := *conf
		if v, ok := wire.VersionByALPN(alpn); ok {
			c.Versions = []moqt.Version{v}
		}
		return moqt.DialOn(ctx, nc, "iroh://"+id+"/", &c)
	}
}

// Iroh starts a node with a key that is forgotten, if a relay is a ticket of one that iroh reaches and ec-iroh is on this machine.
// Else dial is nil: such tickets are used over their addresses. stop ends it.
func Iroh(relays []string, log *slog.Logger) (dial DialIroh, stop func()) {
	stop = func() {}
	c := iroh.Config{Log: log}
	wanted := false
	for _, r := range relays {
		if t, err := ticket.Parse(r); err == nil && t.HasIroh() {
			wanted = true
			if c.Relay == "" {
				c.Relay = t.IrohRelay
			}
		}
	}
	if !wanted {
		return nil, stop
	}
	n, err := iroh.New(c)
	if err != nil {
		if log != nil {
			log.Info("not by iroh", "err", err)
		}
		return nil, stop
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	return OverIroh(n), sync.OnceFunc(func() { cancel(); running.Wait() })
}
