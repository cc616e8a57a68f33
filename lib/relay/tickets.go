package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/auth"
	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// TicketOrder are the arguments of the operators' command ticket; docs/format/admin.md has them.
type TicketOrder struct {
	Addresses []string `json:"addresses,omitempty"` // default: where this relay listens on UDP
	Life      float64  `json:"life,omitempty"`      // seconds; 0: for ever
	Uses      int      `json:"uses,omitempty"`      // 0: any number
	Note      string   `json:"note,omitempty"`
}

// TicketMade is its record.
type TicketMade struct {
	V         int        `json:"v"`  // 1
	ID        string     `json:"id"` // for its operator, no secret
	Ticket    string     `json:"ticket"`
	Addresses []string   `json:"addresses"`
	Expires   *time.Time `json:"expires,omitempty"`
}

// TicketList is the record of the command tickets: those that have not expired.
type TicketList struct {
	V       int           `json:"v"` // 1
	Tickets []mesh.Ticket `json:"tickets"`
}

// Revocation are the arguments of the command revoke.
type Revocation struct {
	ID string `json:"id"`
}

// Revoked is its record.
type Revoked struct {
	V        int    `json:"v"` // 1
	ID       string `json:"id"`
	Sessions int    `json:"sessions"` // that had come with the ticket and were ended
}

// makeTicket makes a ticket for the relay with these certificates, which listens at addrs.
func makeTicket(ctx context.Context, tickets *mesh.Tickets, certs *keys.Certificates, addrs []net.Addr, node *iroh.Node, args json.RawMessage) (any, error) {
	var o TicketOrder
	if err := admin.Arguments(args, &o); err != nil {
		return nil, err
	}
	life, err := seconds(o.Life)
	if err != nil {
		return nil, err
	}
	terms := mesh.Terms{Life: life, Uses: o.Uses, Note: o.Note}
	if err := terms.Check(); err != nil {
		return nil, refusedOrder(err)
	}
	t := &ticket.Ticket{Addresses: o.Addresses, Pin: certs.Pin()}
	for _, a := range t.Addresses {
		if err := checkAddress(a); err != nil {
			return nil, err
		}
	}
	if len(t.Addresses) == 0 {
		t.Addresses = reachable(addrs, interfaceAddrs())
	}
	if node != nil {
		ctx, cancel := context.WithTimeout(ctx, answerPatience)
		self, err := node.Self(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		id, err := mesh.ParseID(self.ID)
		if err != nil {
			return nil, err
		}
		t.Iroh, t.IrohAddrs, t.IrohRelay = id, self.Addrs[:min(len(self.Addrs), 8)], self.Relay
	}
	if len(t.Addresses) == 0 && node == nil {
		return nil, exit.With(exit.Config, errors.New("nobody on another machine reaches this relay with a ticket: it does not listen on UDP"), "--address ADDRESS says where others reach it, by moqt://, https://, wss:// or unix://")
	}
	if err := tickets.Issue(t, terms, time.Now()); err != nil {
		return nil, refusedOrder(err)
	}
	made := TicketMade{V: 1, ID: tickets.ID(t), Ticket: t.String(), Addresses: t.Addresses}
	if !t.Expires.IsZero() {
		made.Expires = &t.Expires
	}
	return made, nil
}

// seconds converts a number of seconds, which may be too large for a Duration.
func seconds(n float64) (time.Duration, error) {
	if limit := mesh.MaxLife.Seconds(); n < 0 || n > limit || n > 0 && n < mesh.MinLife.Seconds() {
		return 0, exit.With(exit.Usage, fmt.Errorf("life: %g seconds: want %g to %.0f, and 0 is for ever", n, mesh.MinLife.Seconds(), limit), "")
	}
	return time.Duration(n * float64(time.Second)), nil
}

// refusedOrder turns the error of terms that no ticket may have into an error of the operator who asked for them.
func refusedOrder(err error) error {
	if _, ok := errors.AsType[*mesh.TermsError](err); ok {
		return exit.With(exit.Usage, err, "")
	}
	return err
}

// checkAddress reports an address at which nobody could use a ticket.
func checkAddress(address string) error {
	if ticket.Is(address) {
		return exit.With(exit.Usage, errors.New("a ticket is no address for another one"), "")
	}
	if err := keep.CheckURL(address); err != nil {
		return err
	}
	if !keep.Secret(address) {
		return exit.With(exit.Usage, fmt.Errorf("%s is not encrypted: the secret of a ticket is not sent there", address), "moqt://, https://, wss:// and unix:// will do")
	}
	return nil
}

// reachable returns the addresses of UDP listeners at which others reach them: the listener's own address or, where it listens at
// every address, those of the machine's interfaces.
func reachable(addrs []net.Addr, machine []netip.Addr) (list []string) {
	for _, a := range addrs {
		udp, ok := a.(*net.UDPAddr)
		if !ok {
			continue
		}
		at := udp.AddrPort()
		hosts := []netip.Addr{at.Addr().Unmap()}
		if at.Addr().IsUnspecified() {
			hosts = slices.Clone(machine)
		}
		for _, h := range hosts {
			list = append(list, "moqt://"+netip.AddrPortFrom(h, at.Port()).String())
		}
	}
	return list[:min(len(list), 8)]
}

// interfaceAddrs returns the machine's addresses that others may dial; on a machine without any, those of the loopback.
func interfaceAddrs() (list []netip.Addr) {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(n.IP); ok && !addr.Unmap().IsLoopback() && !addr.IsLinkLocalUnicast() {
			list = append(list, addr.Unmap())
		}
	}
	slices.SortStableFunc(list, func(a, b netip.Addr) int { // IPv4 first: few homes let IPv6 in
		return cmp.Compare(a.BitLen(), b.BitLen())
	})
	if len(list) == 0 {
		list = append(list, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return list
}

// handleTickets adds the commands that have to do with tickets to the operators' door.
func (r *Relay) handleTickets(door *admin.Server, tickets *mesh.Tickets, certs *keys.Certificates, addrs []net.Addr, node *iroh.Node) {
	door.Handle("ticket", func(ctx context.Context, args json.RawMessage) (any, error) {
		record, err := makeTicket(ctx, tickets, certs, addrs, node, args)
		if made, is := record.(TicketMade); is && err == nil {
			r.c.Audit.Add(auth.Entry{What: "ticket-made", Who: admin.Who(ctx), Subject: made.ID})
		}
		return record, err
	})
	door.Handle("tickets", func(_ context.Context, args json.RawMessage) (any, error) {
		if err := admin.Arguments(args, &struct{}{}); err != nil {
			return nil, err
		}
		list, err := tickets.List(time.Now())
		return TicketList{V: 1, Tickets: list}, err
	})
	door.Handle("revoke", func(ctx context.Context, args json.RawMessage) (any, error) {
		record, err := r.revoke(tickets, args)
		if done, is := record.(Revoked); is && err == nil {
			r.c.Audit.Add(auth.Entry{What: "ticket-revoked", Who: admin.Who(ctx), Subject: done.ID})
		}
		return record, err
	})
}

// revoke forgets a ticket and ends the sessions that came with it.
func (r *Relay) revoke(tickets *mesh.Tickets, args json.RawMessage) (any, error) {
	var o Revocation
	if err := admin.Arguments(args, &o); err != nil {
		return nil, err
	}
	if err := tickets.Revoke(o.ID); errors.Is(err, mesh.ErrUnknownTicket) {
		return nil, exit.With(exit.Unreachable, fmt.Errorf("no ticket %q", o.ID), "ec-relay ticket --list has the ids")
	} else if err != nil {
		return nil, err
	}
	done := Revoked{V: 1, ID: o.ID}
	now, cancel := context.WithCancel(context.Background())
	cancel() // a session that has not shown its setup yet is not let in any more
	r.mu.Lock()
	all := slices.Collect(maps.Keys(r.sessions))
	r.mu.Unlock()
	for _, s := range all {
		info, err := s.s.Peer(now)
		if err == nil && slices.ContainsFunc(info.Tokens, func(t moqt.Token) bool {
			return t.Type == ticket.TokenType && mesh.IDOfToken(t.Value) == o.ID
		}) {
			s.s.Close(wire.Unauthorized, "the ticket was revoked")
			done.Sessions++
		}
	}
	r.log.Info("ticket revoked", "ticket", o.ID, "sessions", done.Sessions)
	return done, nil
}
