package hdhr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv6"
)

// DiscoverConfig says where and for how long to look. The zero value asks every interface.
type DiscoverConfig struct {
	// Targets are asked by address instead of by broadcast. Port 0 is the protocol's own.
	Targets []netip.AddrPort
	// ID limits the search to one device; 0: any.
	ID DeviceID
	// No4 and No6 leave a family out.
	No4, No6 bool
	// Tries is how often to ask, default 2. Wait is how long to listen after each, default 200 ms.
	Tries int
	Wait  time.Duration
}

// Found is a device that answered.
type Found struct {
	DiscoverReply
	// Addrs are the addresses that it answered from, the most useful first.
	Addrs []netip.AddrPort
}

// Addr is the device's most useful address.
func (f Found) Addr() netip.Addr {
	if len(f.Addrs) == 0 {
		return netip.Addr{}
	}
	return f.Addrs[0].Addr()
}

// Discover asks for devices and returns those that answered, merged by id and sorted by it. It
// returns early when every target, or the device asked for, has answered. Nobody answering is no error; not being
// able to send a single request is.
func Discover(ctx context.Context, cfg DiscoverConfig) ([]Found, error) {
	if cfg.Tries == 0 {
		cfg.Tries = 2
	}
	if cfg.Wait == 0 {
		cfg.Wait = 200 * time.Millisecond
	}
	routes, err := discoverRoutes(cfg)
	if err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	s := &search{cfg: cfg, found: map[identity]*Found{}, answered: map[netip.Addr]bool{}, done: make(chan struct{})}
	var readers sync.WaitGroup
	for _, r := range routes {
		readers.Go(func() { s.read(r.conn) })
	}
	request := DiscoverRequest{Types: []DeviceType{TypeAny}, ID: cfg.ID}.Append(nil)
	sent := false
	var sendErr error
	for range cfg.Tries {
		for _, r := range routes {
			for _, to := range r.to {
				if _, err := r.conn.WriteToUDPAddrPort(request, to); err != nil {
					sendErr = err // names the address
				} else {
					sent = true
				}
			}
		}
		wait := time.NewTimer(cfg.Wait)
		select {
		case <-wait.C:
		case <-s.done:
		case <-ctx.Done():
		}
		wait.Stop()
		if ctx.Err() != nil || s.complete() {
			break
		}
	}
	for _, r := range routes {
		r.conn.Close()
	}
	readers.Wait()
	if !sent && ctx.Err() == nil {
		return nil, fmt.Errorf("discover: no request could be sent: %w", cmp.Or(sendErr, errNoInterface))
	}
	return s.result(), ctx.Err()
}

var errNoInterface = errors.New("no usable network interface")

// route is a socket and where it sends to.
type route struct {
	conn *net.UDPConn
	to   []netip.AddrPort
}

func discoverRoutes(cfg DiscoverConfig) (routes []route, err error) {
	defer func() {
		if err != nil {
			for _, r := range routes {
				r.conn.Close()
			}
		}
	}()
	if len(cfg.Targets) > 0 {
		for _, t := range cfg.Targets {
			if t.Port() == 0 {
				t = netip.AddrPortFrom(t.Addr(), DiscoverPort)
			}
			c, err := net.ListenUDP("udp", nil)
			if err != nil {
				return routes, err
			}
			routes = append(routes, route{c, []netip.AddrPort{t}})
		}
		return routes, nil
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			// An address that can not be bound, as a tentative IPv6 one, is passed over.
			if r, err := interfaceRoute(&i, n, cfg); err == nil && r.conn != nil {
				routes = append(routes, r)
			}
		}
	}
	return routes, nil
}

// interfaceRoute opens a socket on one address of an interface: IPv4 sends to the limited broadcast
// address, IPv6 to the link-local or the site-local group, whichever fits the address.
func interfaceRoute(i *net.Interface, n *net.IPNet, cfg DiscoverConfig) (route, error) {
	ip, _ := netip.AddrFromSlice(n.IP)
	ip = ip.Unmap()
	ones, bits := n.Mask.Size()
	switch {
	case ip.Is4() && !cfg.No4 && i.Flags&net.FlagBroadcast != 0 && ones < bits:
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip.AsSlice()})
		if err != nil {
			return route{}, err
		}
		return route{c, []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), DiscoverPort)}}, nil
	case ip.Is6() && !cfg.No6 && i.Flags&net.FlagMulticast != 0:
		local, group := &net.UDPAddr{IP: ip.AsSlice()}, groupSite
		if ip.IsLinkLocalUnicast() {
			local.Zone, group = i.Name, groupLink.WithZone(i.Name)
		}
		c, err := net.ListenUDP("udp6", local)
		if err != nil {
			return route{}, err
		}
		p := ipv6.NewPacketConn(c)
		if err := errors.Join(p.SetMulticastInterface(i), p.SetMulticastHopLimit(64)); err != nil {
			c.Close()
			return route{}, err
		}
		return route{c, []netip.AddrPort{netip.AddrPortFrom(group, DiscoverPort)}}, nil
	}
	return route{}, nil
}

// identity tells devices apart; recorders without a tuner have no device id.
type identity struct {
	id      DeviceID
	storage string
}

// search gathers replies.
type search struct {
	cfg  DiscoverConfig
	done chan struct{} // closed when nothing more is to be expected

	mu       sync.Mutex // guards what follows
	found    map[identity]*Found
	answered map[netip.Addr]bool
	closed   bool
}

func (s *search) read(c *net.UDPConn) {
	buf := make([]byte, 2*MaxPacket)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error that a request provoked
		}
		p, _, err := ParsePacket(buf[:n])
		if err != nil || p.Type != TypeDiscoverReply {
			continue
		}
		s.add(ParseDiscoverReply(p.Payload), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

func (s *search) add(r DiscoverReply, from netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered[from.Addr().WithZone("")] = true
	if s.cfg.ID != 0 && s.cfg.ID != AnyDevice && r.ID != s.cfg.ID {
		return
	}
	if r.BaseURL == "" && from.Addr().Is4() {
		r.BaseURL = "http://" + hostPort(from.Addr(), HTTPPort, HTTPPort)
	}
	key := identity{r.ID, r.StorageID}
	f := s.found[key]
	if f == nil {
		f = &Found{DiscoverReply: r}
		s.found[key] = f
	}
	if slices.Contains(f.Addrs, from) {
		return
	}
	f.Addrs = append(f.Addrs, from)
	slices.SortStableFunc(f.Addrs, func(a, b netip.AddrPort) int {
		return cmp.Or(cmp.Compare(addrRank(a.Addr()), addrRank(b.Addr())), a.Compare(b))
	})
	if f.Addrs[0] == from {
		f.DiscoverReply = r // the URLs that go with the best address
	}
	if s.completeLocked() && !s.closed {
		s.closed = true
		close(s.done)
	}
}

// addrRank orders addresses by how well they serve (hdhomerun_discover_compute_device_if_priority).
func addrRank(a netip.Addr) int {
	switch {
	case a.IsLoopback() && a.Is6():
		return 0
	case a.IsLoopback():
		return 1
	case a.Is4() && !a.IsLinkLocalUnicast():
		return 2
	case a.Is6() && !a.IsLinkLocalUnicast() && !a.IsPrivate():
		return 3
	case a.Is6() && !a.IsLinkLocalUnicast():
		return 4
	case a.Is6():
		return 5
	}
	return 6
}

func (s *search) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.completeLocked()
}

// completeLocked reports whether all that was asked for is there; a broadcast is never complete.
func (s *search) completeLocked() bool {
	if s.cfg.ID != 0 && s.cfg.ID != AnyDevice && len(s.found) > 0 {
		return true
	}
	for _, t := range s.cfg.Targets {
		if !s.answered[t.Addr().Unmap().WithZone("")] {
			return false
		}
	}
	return len(s.cfg.Targets) > 0
}

func (s *search) result() []Found {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Found
	for _, f := range s.found {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Found) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
