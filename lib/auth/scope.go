package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/object"
)

// Action is something that a session may be allowed to do, by the numbers of draft-ietf-moq-c4m-01 §2.1.
type Action uint

// Actions.
const (
	ClientSetup        Action = 0
	ServerSetup        Action = 1
	PublishNamespace   Action = 2
	SubscribeNamespace Action = 3
	Subscribe          Action = 4
	RequestUpdate      Action = 5
	Publish            Action = 6
	Fetch              Action = 7
	TrackStatus        Action = 8
)

// actionNames are the words of people; the table in docs/format/token.md has them.
var actionNames = map[Action]string{
	PublishNamespace: "announce", SubscribeNamespace: "list", Subscribe: "subscribe", Publish: "publish", Fetch: "fetch", TrackStatus: "ask about",
}

func (a Action) String() string {
	if s, ok := actionNames[a]; ok {
		return s
	}
	return fmt.Sprintf("action %d", uint(a))
}

// Writes reports whether an action brings something to the relay. All others read.
func (a Action) Writes() bool { return a == Publish || a == PublishNamespace }

// Actions is a set of them.
type Actions uint16

// Of makes a set.
func Of(list ...Action) (s Actions) {
	for _, a := range list {
		s |= 1 << a
	}
	return s
}

// Has reports whether an action is in the set.
func (s Actions) Has(a Action) bool { return a < 16 && s&(1<<a) != 0 }

// The actions that the words of a JSON Web Token, and those of ec-relay token make, stand for.
var (
	// ToPublish has what a publisher needs: it also looks at what the relay has of its own tracks.
	ToPublish   = Of(Publish, PublishNamespace, TrackStatus, Fetch)
	ToSubscribe = Of(Subscribe, TrackStatus)
	ToFetch     = Of(Fetch, TrackStatus)
	ToList      = Of(SubscribeNamespace)
	ToRead      = ToSubscribe | ToFetch | ToList
	Everything  = ToPublish | ToRead
)

// Match is what a field of a namespace, or a track's name, must be like (bin-match of draft-ietf-moq-c4m-01 §2.1).
type Match struct {
	Kind MatchKind
	Text string
}

// MatchKind says how Match.Text is compared, byte by byte.
type MatchKind uint8

// Kinds of a Match.
const (
	Exact  MatchKind = 0
	Prefix MatchKind = 1
	Suffix MatchKind = 2
)

func (m Match) fits(s string) bool {
	switch m.Kind {
	case Exact:
		return s == m.Text
	case Prefix:
		return strings.HasPrefix(s, m.Text)
	case Suffix:
		return strings.HasSuffix(s, m.Text)
	}
	return false
}

// Scope allows some actions below some namespaces.
type Scope struct {
	Actions Actions
	// Namespace is what the first fields must be like, one by one. Without any, every namespace fits.
	Namespace []Match
	// End says that no field may follow these.
	End bool
	// Track is what the name of a track must be like; nil: every name fits.
	Track *Match
}

// Below is the scope of some actions below a namespace. Below the empty one is everything.
func Below(actions Actions, prefix object.Namespace) Scope {
	s := Scope{Actions: actions}
	for _, f := range prefix {
		s.Namespace = append(s.Namespace, Match{Exact, f})
	}
	return s
}

// String names what lies in the scope, for people: ec-atsc-2065-3, with … for what may follow or precede.
func (s Scope) String() string {
	var fields []string
	for _, m := range s.Namespace {
		fields = append(fields, m.String())
	}
	text := strings.Join(fields, "-")
	switch {
	case text == "":
		text = Every
	case s.End:
		text += " alone"
	}
	if s.Track != nil {
		text += ", tracks " + s.Track.String()
	}
	return text
}

func (m Match) String() string {
	text := object.Namespace{m.Text}.String()
	switch m.Kind {
	case Prefix:
		return text + "…"
	case Suffix:
		return "…" + text
	}
	return text
}

// covers reports whether a namespace lies in the scope.
func (s Scope) covers(ns object.Namespace) bool {
	if len(ns) < len(s.Namespace) || s.End && len(ns) > len(s.Namespace) {
		return false
	}
	for i, m := range s.Namespace {
		if !m.fits(ns[i]) {
			return false
		}
	}
	return true
}

// touches reports whether a namespace that begins with prefix may lie in the scope.
func (s Scope) touches(prefix object.Namespace) bool {
	if s.End && len(prefix) > len(s.Namespace) {
		return false
	}
	for i, m := range s.Namespace {
		if i < len(prefix) && !m.fits(prefix[i]) {
			return false
		}
	}
	return true
}

// Grant is what its holder may do.
type Grant struct {
	// ID names the token, for its revocation: its jti, the hex digits of its cti, or else some of those of a hash.
	ID string
	// By says what it came from, for logs: jwt, cat, ticket, key, user.
	By string
	// Subject is whom the token is for. It may be empty.
	Subject string
	// Key is the id of the key that signed it; empty: none did.
	Key string
	// NotBefore and Expires bound when it is good; zero: not at all.
	NotBefore, Expires time.Time
	Scopes             []Scope
	// Limits bound what its holders may use up, together. Zero values: what others in their place may.
	Limits limits.Set

	signer *Key
}

// All allows everything, for ever.
func All(by, id string) *Grant { return &Grant{ID: id, By: by, Scopes: []Scope{{Actions: Everything}}} }

// Namespace reports whether an action on a namespace is allowed.
func (g *Grant) Namespace(a Action, ns object.Namespace) bool {
	for _, s := range g.Scopes {
		if s.Actions.Has(a) && s.covers(ns) {
			return true
		}
	}
	return false
}

// Whole reports whether an action on all tracks of a namespace is allowed.
func (g *Grant) Whole(a Action, ns object.Namespace) bool {
	return slices.ContainsFunc(g.Scopes, func(s Scope) bool { return s.Actions.Has(a) && s.Track == nil && s.covers(ns) })
}

// Everything reports whether an action is allowed whatever it is about.
func (g *Grant) Everything(a Action) bool {
	return slices.ContainsFunc(g.Scopes, func(s Scope) bool { return s.Actions.Has(a) && s.Track == nil && len(s.Namespace) == 0 && !s.End })
}

// Track reports whether an action on a track is allowed.
func (g *Grant) Track(a Action, t object.TrackName) bool {
	for _, s := range g.Scopes {
		if s.Actions.Has(a) && s.covers(t.Namespace) && (s.Track == nil || s.Track.fits(t.Name)) {
			return true
		}
	}
	return false
}

// Touches reports whether an action may be allowed on a namespace that begins with prefix.
func (g *Grant) Touches(a Action, prefix object.Namespace) bool {
	for _, s := range g.Scopes {
		if s.Actions.Has(a) && s.touches(prefix) {
			return true
		}
	}
	return false
}

// Why a token is worth nothing.
var (
	ErrMalformed  = errors.New("not a token")
	ErrExpired    = errors.New("the token has expired")
	ErrNotYet     = errors.New("the token is not good yet")
	ErrRevoked    = errors.New("the token was revoked")
	ErrUnknownKey = errors.New("no trusted key signed the token")
	ErrRefused    = errors.New("the token is not for this relay")
	ErrDenied     = errors.New("the relay takes nobody with this token")
)

// Refusal reports whether an error is one of those above; others are faults of this machine.
func Refusal(err error) bool {
	for _, e := range []error{ErrMalformed, ErrExpired, ErrNotYet, ErrRevoked, ErrUnknownKey, ErrRefused, ErrDenied} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// within reports whether the grant is good at a time.
func (g *Grant) within(now time.Time) error {
	switch {
	case !g.Expires.IsZero() && !now.Before(g.Expires):
		return ErrExpired
	case now.Before(g.NotBefore):
		return ErrNotYet
	}
	return nil
}
