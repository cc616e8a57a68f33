package auth

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"every.channel/ec/lib/object"
)

// Policy is what a relay takes and serves, whatever anybody shows: what everybody may do, and what and who is kept out. A Policy that is in use
// does not change; a relay that reads its configuration again uses another one.
type Policy struct {
	// Open lets everybody publish. Default: only those who may.
	Open bool
	// Private lets only those read who may. Default: everybody may.
	Private bool
	// PrivateBelow are namespaces below which only those read, and see in lists what there is, who may. Default: none.
	PrivateBelow []object.Namespace
	// Allow keeps out all namespaces that it does not name, if it names any, and all peers, if it names any.
	Allow List
	// Deny keeps out what it names, also what Allow names.
	Deny List
}

// List names namespaces and peers.
type List struct {
	// Namespaces are named with all that lies below; a source is the namespace of what it sends.
	Namespaces []object.Namespace
	// Keys are pins of clients' keys and ids of relays, 64 hex digits.
	Keys []string
	// Tokens are ids of tokens and tickets.
	Tokens []string
	// Addresses are blocks of addresses.
	Addresses []netip.Prefix
}

// Peer is who is at the other end of a session, as far as that is proved.
type Peer struct {
	Addr   netip.Addr // of the socket; not valid: there is none, as over iroh
	Keys   []string   // as List has them
	Tokens []string   // whose bearer it is
}

// Bounds of lists.
const (
	// maxListed bounds the entries of a list, with those of its files.
	maxListed = 4096
	// maxListLine bounds a line of a file.
	maxListLine = 4096
)

// sources is the namespace below which sources send (docs/format/names.md).
var sources = object.Namespace{"ec", "source"}

// Everybody reports whether an action on a namespace needs no grant. Nil stands for all namespaces at once.
func (p *Policy) Everybody(a Action, ns object.Namespace) bool {
	switch {
	case a.Writes():
		return p.Open
	case p.Private:
		return false
	case ns == nil:
		return len(p.PrivateBelow) == 0
	}
	return !slices.ContainsFunc(p.PrivateBelow, ns.HasPrefix)
}

// Bars reports whether what lies in a namespace is neither taken nor served.
func (p *Policy) Bars(ns object.Namespace) bool {
	if slices.ContainsFunc(p.Deny.Namespaces, ns.HasPrefix) {
		return true
	}
	return len(p.Allow.Namespaces) > 0 && !slices.ContainsFunc(p.Allow.Namespaces, ns.HasPrefix)
}

// Refuses returns why a peer may not come; "": it may.
func (p *Policy) Refuses(peer Peer) string {
	if what := p.Deny.names(peer); what != "" {
		return what + " is denied"
	}
	if p.Allow.peers() && p.Allow.names(peer) == "" {
		return "neither address, key nor token is allowed"
	}
	return ""
}

// peers reports whether a list names any peer.
func (l List) peers() bool { return len(l.Keys)+len(l.Tokens)+len(l.Addresses) > 0 }

// names returns by what a list names a peer; "": it does not.
func (l List) names(peer Peer) string {
	addr := peer.Addr.Unmap()
	switch {
	case addr.IsValid() && slices.ContainsFunc(l.Addresses, func(b netip.Prefix) bool { return b.Contains(addr) }):
		return "the address"
	case slices.ContainsFunc(peer.Keys, func(k string) bool { return slices.Contains(l.Keys, k) }):
		return "the key"
	case slices.ContainsFunc(peer.Tokens, func(id string) bool { return slices.Contains(l.Tokens, id) }):
		return "the token"
	}
	return ""
}

// ParseList reads entries such as namespace:ec-atsc-2065-3, source:roof, key:PIN, token:ID, address:192.0.2.0/24, and @FILE, a file that has one
// on each line; # begins a comment.
func ParseList(entries []string) (l List, err error) {
	for _, text := range entries {
		if path, is := strings.CutPrefix(text, "@"); is {
			if err := l.read(path); err != nil {
				return List{}, err
			}
			continue
		}
		if err := l.add(text); err != nil {
			return List{}, err
		}
	}
	return l, nil
}

func (l *List) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxListLine)
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := l.add(line); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// add takes over one entry.
func (l *List) add(text string) error {
	kind, value, ok := strings.Cut(text, ":")
	bad := func(err error) error {
		return fmt.Errorf("%q: %w; want namespace:PREFIX, source:ID, key:SHA256, token:ID, address:BLOCK or @FILE", text, err)
	}
	switch {
	case !ok || value == "":
		return bad(errors.New("no kind and value"))
	case len(l.Namespaces)+len(l.Keys)+len(l.Tokens)+len(l.Addresses) >= maxListed:
		return fmt.Errorf("more than %d entries", maxListed)
	}
	switch kind {
	case "namespace":
		ns, err := object.ParseNamespace(value)
		if err != nil {
			return bad(err)
		}
		l.Namespaces = append(l.Namespaces, ns)
	case "source":
		l.Namespaces = append(l.Namespaces, append(slices.Clone(sources), value))
	case "key":
		value = strings.ToLower(strings.ReplaceAll(value, ":", ""))
		if b, err := hex.DecodeString(value); err != nil || len(b) != 32 {
			return bad(errors.New("not 64 hex digits"))
		}
		l.Keys = append(l.Keys, value)
	case "token":
		if !goodID(value) {
			return bad(errors.New("no id of a token"))
		}
		l.Tokens = append(l.Tokens, value)
	case "address":
		block, err := netip.ParsePrefix(value)
		if err != nil {
			addr, aerr := netip.ParseAddr(value)
			if aerr != nil {
				return bad(errors.New("no address or block of addresses"))
			}
			block = netip.PrefixFrom(addr, addr.BitLen())
		}
		if block.Addr().Is4In6() {
			return bad(errors.New("an IPv4 address is written as one"))
		}
		l.Addresses = append(l.Addresses, block.Masked())
	default:
		return bad(errors.New("unknown kind"))
	}
	return nil
}
