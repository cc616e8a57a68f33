package gateway

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hash is how a browser knows a certificate.
type Hash struct {
	SHA256 [32]byte
	Until  time.Time // the certificate is not valid afterwards
}

// Info is relay.json.
type Info struct {
	V            int               `json:"v"` // 1
	WebTransport []string          `json:"webtransport"`
	WebSocket    string            `json:"websocket,omitempty"`
	Hashes       []CertificateHash `json:"certificate_hashes"`
	Name         string            `json:"name,omitempty"`
}

// CertificateHash is a member of serverCertificateHashes, as JSON.
type CertificateHash struct {
	Algorithm string    `json:"algorithm"`
	Value     []byte    `json:"value"` // base64
	Until     time.Time `json:"until"`
}

func (g *Gateway) serveInfo(w http.ResponseWriter, r *http.Request) {
	i := Info{V: 1, WebTransport: []string{}, Hashes: []CertificateHash{}, Name: g.c.Name}
	if g.c.MoQ != nil {
		i.WebSocket = "/moq"
	}
	if host := hostOf(r); host != "" {
		i.WebTransport = append(i.WebTransport, g.webTransport(r, host)...)
	}
	for _, h := range g.c.Hashes() {
		i.Hashes = append(i.Hashes, CertificateHash{"sha-256", h.SHA256[:], h.Until.UTC()})
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Access-Control-Allow-Origin", "*") // any page may know of the relay; which may have a session, the relay decides
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	json.NewEncoder(w).Encode(i)
}

// hostPattern is a name or address as browsers send it (RFC 3986 §3.2.2).
var hostPattern = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// hostOf is the host that a request was sent to, without the port and with the brackets of an address; "" if it makes no sense.
func hostOf(r *http.Request) string {
	m := hostPattern.FindStringSubmatch(r.Host)
	if m == nil || len(r.Host) > 300 {
		return ""
	}
	return m[1]
}

// webTransport returns the URLs at which a client that sent a request to host can have WebTransport. A relay that listens at
// every address, or at the address that the request came to, is named as in the request. A relay that listens at another address
// is named by that address, and one that listens on the loopback is named only to clients that came over the loopback.
func (g *Gateway) webTransport(r *http.Request, host string) (list []string) {
	var here netip.Addr
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		here = at.AddrPort().Addr().Unmap().WithZone("")
	}
	for _, a := range g.c.WebTransport {
		udp, ok := a.(*net.UDPAddr)
		if !ok {
			continue
		}
		name := host
		switch at := udp.AddrPort().Addr().Unmap().WithZone(""); {
		case at.IsUnspecified(), at == here:
		case at.IsLoopback() && !here.IsLoopback():
			continue
		case at.Is6():
			name = "[" + at.String() + "]"
		default:
			name = at.String()
		}
		u := "https://" + strings.ToLower(name) + ":" + strconv.Itoa(udp.Port) + "/"
		if !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list
}
