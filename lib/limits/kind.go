package limits

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is something of which a peer may use only so much.
type Kind uint8

// Kinds. What is counted is held until it is given back; of others there are so many in a second, or in a day.
const (
	Connects      Kind = iota // connections that begin, in a second
	Handshakes                // connections and sessions that are not set up yet
	HTTP                      // connections to the HTTP server
	Sessions                  // sessions that are set up
	Subscriptions             // subscriptions that are served or waited for, tracks that are pushed, readers by HTTP
	Fetches                   // answers to FETCH
	Lists                     // requests for namespaces, and for the tracks below a prefix
	Names                     // names that are asked for and of which nothing is here, in a second
	Namespaces                // namespaces that are announced
	Tracks                    // tracks that are published
	Streams                   // data streams that a publisher has open
	In                        // bytes of payload that are taken, in a second
	Out                       // bytes of payload that are sent, in a second
	Stored                    // bytes of payload that are taken, in 24 hours
	Memory                    // bytes of payload that are kept in memory of what is published

	count
)

// unit is how a kind is bounded.
type unit uint8

const (
	held      unit = iota // so many at a time
	perSecond             // so many in a second
	perDay                // so many in 24 hours
)

// kinds are the names of the kinds, in flags, tokens and metrics, and how much of what comes by the second may come at once, in seconds.
var kinds = [count]struct {
	name  string
	unit  unit
	burst float64
}{
	Connects: {"connects", perSecond, 20}, Handshakes: {"handshakes", held, 0}, HTTP: {"http", held, 0}, Sessions: {"sessions", held, 0},
	Subscriptions: {"subscriptions", held, 0}, Fetches: {"fetches", held, 0}, Lists: {"lists", held, 0}, Names: {"names", perSecond, 20},
	Namespaces: {"namespaces", held, 0}, Tracks: {"tracks", held, 0}, Streams: {"streams", held, 0},
	In: {"in", perSecond, 2}, Out: {"out", perSecond, 2}, Stored: {"stored", perDay, 0}, Memory: {"memory", held, 0},
}

func (k Kind) String() string { return kinds[k].name }

// Bytes reports whether a bound of the kind is one of bytes.
func (k Kind) Bytes() bool { return k == In || k == Out || k == Stored || k == Memory }

// Kinds are all of them, in order.
func Kinds() (list []Kind) {
	for k := range count {
		list = append(list, k)
	}
	return list
}

// ParseKind reads the name of a kind.
func ParseKind(name string) (Kind, error) {
	var names []string
	for k := range count {
		if kinds[k].name == name {
			return k, nil
		}
		names = append(names, kinds[k].name)
	}
	slices.Sort(names)
	return 0, fmt.Errorf("%.32q is no limit; there are %s", name, strings.Join(names, ", "))
}

// Set are bounds of one peer, by kind. Zero is the default, and a negative bound is none at all.
type Set [count]int64

// ParseSet reads bounds by the names of their kinds. Each is 1 at least.
func ParseSet(m map[string]int64) (s Set, err error) {
	for name, n := range m {
		k, err := ParseKind(name)
		if err != nil {
			return s, err
		}
		if n < 1 {
			return s, fmt.Errorf("%s=%d: want 1 or more", name, n)
		}
		s[k] = n
	}
	return s, nil
}

// Map has the bounds that are no defaults, by the names of their kinds; nil: there are none.
func (s Set) Map() (m map[string]int64) {
	for k, n := range s {
		if n != 0 {
			if m == nil {
				m = make(map[string]int64)
			}
			m[Kind(k).String()] = n
		}
	}
	return m
}

// Bounds are those of a kind. Zero is the default, and a negative bound is none at all.
type Bounds struct {
	Peer int64 // of an address
	Wide int64 // of a block of addresses, a token, a ticket, a key, or this machine
	All  int64 // of all peers together
}

// Table has the bounds of each kind.
type Table [count]Bounds

// defaults are what a Table stands for. Those of sessions and handshakes follow from the sessions of all (withDefaults).
var defaults = Table{
	Connects:      {Peer: 10, Wide: 50, All: -1},
	Handshakes:    {},
	HTTP:          {Peer: 64, Wide: 512, All: -1}, // the HTTP server bounds all of them
	Sessions:      {},
	Subscriptions: {Peer: 1024, Wide: 4096, All: 32768},
	Fetches:       {Peer: 128, Wide: 512, All: 4096},
	Lists:         {Peer: 256, Wide: 1024, All: 8192},
	Names:         {Peer: 20, Wide: 100, All: 500},
	Namespaces:    {Peer: 64, Wide: 1024, All: 8192},
	Tracks:        {Peer: 512, Wide: 4096, All: 32768},
	Streams:       {Peer: 1024, Wide: 4096, All: 32768},
	In:            {Peer: 32 << 20, Wide: 128 << 20, All: -1},
	Out:           {Peer: 32 << 20, Wide: 128 << 20, All: -1},
	Stored:        {Peer: -1, Wide: -1, All: -1},
	Memory:        {Peer: 512 << 20, Wide: 1 << 30, All: -1},
}

// DefaultSessions is how many sessions there may be of all peers together, if nothing else is said.
const DefaultSessions = 1000

// WithDefaults fills in the defaults of a table.
func (t Table) WithDefaults() Table {
	or := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	part := func(of, by int64) int64 { // of a few sessions one peer may have eight
		if of < 0 {
			return -1
		}
		return max(of/by, min(8, of))
	}
	or(&t[Sessions].All, DefaultSessions)
	or(&t[Handshakes].All, max(t[Sessions].All/2, 256))
	for _, k := range []Kind{Sessions, Handshakes} {
		or(&t[k].Wide, part(t[k].All, 2))
		or(&t[k].Peer, part(t[k].All, 8))
	}
	for k := range count {
		or(&t[k].Peer, defaults[k].Peer)
		or(&t[k].Wide, defaults[k].Wide)
		or(&t[k].All, defaults[k].All)
		if b := &t[k]; b.Wide > 0 { // who raises one of them need not name the others
			if b.Wide = max(b.Wide, b.Peer); b.All > 0 && k != Sessions {
				b.All = max(b.All, b.Wide)
			}
		}
	}
	return t
}
