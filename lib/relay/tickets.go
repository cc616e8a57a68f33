package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"every.channel/ec/lib/admin"
	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
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
	V         int        `json:"v"` // 1
	Ticket    string     `json:"ticket"`
	Addresses []string   `json:"addresses"`
	Expires   *time.Time `json:"expires,omitempty"`
}

// makeTicket makes one for the relay with these certificates, which listens at addrs.
func makeTicket(ctx context.Context, tickets *mesh.Tickets, certs *keys.Certificates, addrs []net.Addr, node *iroh.Node, args json.RawMessage) (any, error) {
	var o TicketOrder
	if len(args) > 0 {
		if err := json.Unmarshal(args, &o); err != nil {
			return nil, &codedError{fmt.Errorf("arguments: %w", err), 64, ""}
		}
	}
	if o.Life < 0 || o.Uses < 0 {
		return nil, &codedError{fmt.Errorf("neither time nor uses may be negative"), 64, ""}
	}
	t := &ticket.Ticket{Addresses: o.Addresses, Pin: certs.Pin()}
	for _, a := range t.Addresses {
		if err := keep.CheckURL(a); err != nil {
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
		return nil, &codedError{fmt.Errorf("nobody on another machine reaches this relay"), 78, "--address ADDRESS says where others reach it"}
	}
	if err := tickets.Issue(t, mesh.Terms{Life: time.Duration(o.Life * float64(time.Second)), Uses: o.Uses, Note: o.Note}, time.Now()); err != nil {
		return nil, err
	}
	made := TicketMade{V: 1, Ticket: t.String(), Addresses: t.Addresses}
	if !t.Expires.IsZero() {
		made.Expires = &t.Expires
	}
	return made, nil
}

// reachable are the addresses of what listens on UDP: its own, or those of the machine's interfaces, those that others reach first.
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

// interfaceAddrs are the machine's addresses that may be dialed from others; of a machine without, the loopback's.
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

// ticketCommand is makeTicket as the operators' door has it.
func ticketCommand(tickets *mesh.Tickets, certs *keys.Certificates, addrs []net.Addr, node *iroh.Node) admin.Func {
	return func(ctx context.Context, args json.RawMessage) (any, error) {
		return makeTicket(ctx, tickets, certs, addrs, node, args)
	}
}
