package transport

import (
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// OriginAllowed reports whether the page that sent a request may connect, by AllowOrigins and Hosts.
func (o *Options) OriginAllowed(r *http.Request) bool { return o.withDefaults().originAllowed(r) }

// HostKnown reports whether a host, as a request names it, is one of this server's names (Hosts). If somebody made another name
// lead to this server (DNS rebinding), browsers take pages of that name for the server's own. So a server must not answer to
// names that it does not know.
func (o *Options) HostKnown(host string) bool { return o.withDefaults().hostKnown(host) }

func (o *Options) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(o.AllowOrigins, "*") {
		return true
	}
	if slices.ContainsFunc(o.AllowOrigins, func(allowed string) bool { return strings.EqualFold(allowed, origin) }) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Hostname() != "" && strings.EqualFold(u.Hostname(), hostname(r.Host)) && o.hostKnown(r.Host)
}

// hostname is a host without its port and an address without its brackets.
func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

func (o *Options) hostKnown(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(hostname(host), "."))
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" || slices.Contains(machineNames(), name) {
		return true // no name can be made to lead to an address
	}
	return name != "" && (o.Hosts != nil && o.Hosts(name) || slices.ContainsFunc(o.AllowOrigins, func(allowed string) bool {
		u, err := url.Parse(allowed)
		return allowed == "*" || err == nil && strings.EqualFold(u.Hostname(), name)
	}))
}

// machineNames returns the names of this machine: its own, without the domain, and that of multicast DNS (RFC 6762 §3).
var machineNames = sync.OnceValue(func() []string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return nil
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	short, _, _ := strings.Cut(name, ".")
	return []string{name, short, short + ".local"}
})
