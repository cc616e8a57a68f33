package tune

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"every.channel/ec/lib/hdhr"
)

// Kind is a kind of source.
type Kind int

// The kinds of source.
const (
	Stdin   Kind = iota // "-"
	File                // a path
	HTTP                // http:// and https://
	UDP                 // udp:// and rtp://
	Channel             // a virtual channel, on a device or on whichever has it
)

// Address names a source. See ParseAddress.
type Address struct {
	Kind    Kind
	Path    string         // File
	URL     string         // HTTP
	Group   netip.AddrPort // UDP; an unspecified address means any of this host's
	Iface   string         // UDP: of the multicast group, "": the system chooses
	Device  string         // Channel: id, IP address or host, with or without a port; "": any
	Channel string         // Channel: "5.1", "ch533000000-3", or a name in the lineup

	text string
}

// String is the address as it was given, but without a password.
func (a Address) String() string {
	if a.Kind == HTTP {
		if u, err := url.Parse(a.URL); err == nil && u.User != nil {
			return u.Redacted()
		}
	}
	return a.text
}

var (
	channelForm   = regexp.MustCompile(`^(\d{1,5})(?:[.-](\d{1,5}))?$`)
	frequencyForm = regexp.MustCompile(`^ch\d{6,12}(-\d{1,5})?$`)
	idForm        = regexp.MustCompile(`^[0-9A-Fa-f]{8}$`)
)

// AddressHelp lists the forms that ParseAddress reads.
const AddressHelp = `  5.1                        a channel, on whichever device has it
  10500009/5.1               a channel on a device, by id or IP address
  hdhr://HOST[:PORT]/5.1     the same with a host name or the port of its HTTP server, or with
                             the channel's name in place of the number
  http://… https://…         a stream over HTTP
  udp://@239.1.2.3:1234      multicast, ?iface=eth0 to choose the interface; RTP too
  udp://127.0.0.1:1234       datagrams to an address of this host
  FILE                       a file, ./5.1 if its name looks like a channel
  -                          stdin`

// ParseAddress reads an address in one of the forms of AddressHelp. A channel may also be a frequency in
// Hz and a program, "ch533000000-3", or without the program the whole multiplex.
func ParseAddress(s string) (Address, error) {
	a := Address{text: s}
	scheme, rest, isURL := strings.Cut(s, "://")
	switch {
	case s == "":
		return a, usageError("empty address")
	case s == "-":
		a.Kind = Stdin
		return a, nil
	case isURL:
		return parseURL(a, strings.ToLower(scheme), rest)
	case channelForm.MatchString(s) || frequencyForm.MatchString(s):
		a.Kind, a.Channel = Channel, normal(s)
		return a, nil
	}
	if i := strings.LastIndexByte(s, '/'); i > 0 {
		device, ch := s[:i], s[i+1:]
		isChannel := channelForm.MatchString(ch) || frequencyForm.MatchString(ch)
		_, notAddress := parseHost(device)
		isDevice := idForm.MatchString(device) || notAddress == nil
		if _, err := os.Stat(s); err != nil && isChannel && isDevice {
			return channelAddress(a, device, ch)
		}
	}
	a.Kind, a.Path = File, s
	return a, nil
}

// normal writes the separator of a channel as a lineup does.
func normal(ch string) string {
	if m := channelForm.FindStringSubmatch(ch); m != nil && m[2] != "" {
		return m[1] + "." + m[2]
	}
	return ch
}

// parseHost reads an IP address with or without a port, and without brackets around a bare IPv6 one.
func parseHost(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	return netip.ParseAddrPort(s)
}

func channelAddress(a Address, device, ch string) (Address, error) {
	a.Kind, a.Device, a.Channel = Channel, device, normal(ch)
	if idForm.MatchString(device) {
		if _, err := hdhr.ParseDeviceID(device); err != nil {
			return a, usageError("address %q: %w", a.text, err)
		}
	}
	return a, nil
}

func parseURL(a Address, scheme, rest string) (Address, error) {
	switch scheme {
	case "http", "https":
		u, err := url.Parse(a.text)
		if err != nil || u.Host == "" {
			return a, usageError("address %q: not a URL", a.text)
		}
		a.Kind, a.URL = HTTP, a.text
		return a, nil
	case "file":
		u, err := url.Parse(a.text)
		if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
			return a, usageError("address %q: want file:///path", a.text)
		}
		a.Kind, a.Path = File, u.Path
		return a, nil
	case "hdhr":
		host, ch, _ := strings.Cut(rest, "/")
		if name, err := url.PathUnescape(ch); err == nil {
			ch = name
		}
		if host == "" || ch == "" || strings.Contains(ch, "/") {
			return a, usageError("address %q: want hdhr://HOST/CHANNEL", a.text)
		}
		return channelAddress(a, host, ch)
	case "udp", "rtp":
		return parseUDP(a, rest)
	}
	return a, usageError("address %q: %s:// is none of hdhr, http, https, udp, rtp and file", a.text, scheme)
}

func parseUDP(a Address, rest string) (Address, error) {
	rest, query, _ := strings.Cut(rest, "?")
	rest = strings.TrimSuffix(strings.TrimPrefix(rest, "@"), "/")
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return a, usageError("address %q: want udp://[@]IP:PORT", a.text)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return a, usageError("address %q: port %q", a.text, port)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return a, usageError("address %q: %q is not an IP address", a.text, host)
		}
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return a, usageError("address %q: %w", a.text, err)
	}
	for k := range q {
		if k != "iface" {
			return a, usageError("address %q: unknown option %q; iface is the only one", a.text, k)
		}
	}
	a.Kind, a.Group, a.Iface = UDP, netip.AddrPortFrom(ip.Unmap(), uint16(p)), q.Get("iface")
	if a.Iface == "" {
		a.Iface = ip.Zone()
	}
	if a.Iface != "" && !ip.IsMulticast() {
		return a, usageError("address %q: an interface is for multicast groups", a.text)
	}
	return a, nil
}

// parseDevice reads Config.Device: an id, an address or a host name, or a URL of its HTTP server as ec-discover prints them, of which
// host and port count.
func parseDevice(s string) (device string, err error) {
	device = s
	if u, err := url.Parse(s); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "hdhr") {
		device = u.Host
	}
	if idForm.MatchString(device) {
		if _, err := hdhr.ParseDeviceID(device); err != nil {
			return "", usageError("device %w", err)
		}
	}
	if strings.ContainsAny(device, "/ ") {
		return "", usageError("device %q: neither an id nor an address", s)
	}
	return device, nil
}
