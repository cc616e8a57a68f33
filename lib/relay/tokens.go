package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/object"
)

// TokenOrder are the arguments of the operators' command token; docs/format/admin.md has them.
type TokenOrder struct {
	Publish []string `json:"publish,omitempty"`
	Read    []string `json:"read,omitempty"`
	Client  string   `json:"client,omitempty"` // pin of a key in place of a token
	Life    float64  `json:"life,omitempty"`   // seconds; 0: for ever
	Subject string   `json:"subject,omitempty"`
	Note    string   `json:"note,omitempty"`
	// Limits are what its holders may use up together, by name.
	Limits map[string]int64 `json:"limits,omitempty"`
}

// TokenMade is its record.
type TokenMade struct {
	V       int        `json:"v"` // 1
	ID      string     `json:"id"`
	Token   string     `json:"token,omitempty"` // missing: a key stands for it
	Expires *time.Time `json:"expires,omitempty"`
}

// TokenList is the record of the command tokens.
type TokenList struct {
	V      int         `json:"v"` // 1
	Tokens []auth.Made `json:"tokens"`
}

// TokenText are the arguments of the command showtoken.
type TokenText struct {
	Token string `json:"token"`
}

// TokenShown is its record: what a token allows here.
type TokenShown struct {
	V       int          `json:"v"`             // 1
	Why     string       `json:"why,omitempty"` // why it is worth nothing; missing: it is good
	ID      string       `json:"id,omitempty"`
	Format  string       `json:"format,omitempty"` // jwt or cat
	Subject string       `json:"subject,omitempty"`
	Key     string       `json:"key,omitempty"`
	Begins  *time.Time   `json:"begins,omitempty"`
	Expires *time.Time   `json:"expires,omitempty"`
	Allows  []TokenScope `json:"allows,omitempty"`
	// Limits are what its holders may use up together, where that is not what others may.
	Limits map[string]int64 `json:"limits,omitempty"`
}

// TokenScope is one of its scopes.
type TokenScope struct {
	Actions []string `json:"actions"`
	Below   string   `json:"below"` // for people
}

// TokenRevoked is the record of the command revoketoken.
type TokenRevoked struct {
	V        int    `json:"v"` // 1
	ID       string `json:"id"`
	Here     bool   `json:"here"`     // the token was made here
	Sessions int    `json:"sessions"` // that ended
}

// handleTokens adds the commands that have to do with tokens to the operators' door.
func (r *Relay) handleTokens(door *admin.Server, a *auth.Authority, certs *keys.Certificates) {
	door.Handle("token", func(ctx context.Context, args json.RawMessage) (any, error) {
		var o TokenOrder
		if err := admin.Arguments(args, &o); err != nil {
			return nil, err
		}
		terms, err := o.terms()
		if err != nil {
			return nil, exit.With(exit.Usage, err, "")
		}
		token, made, err := a.Tokens.Make(terms, certs.PrivateKey(), time.Now())
		if bad, is := errors.AsType[*auth.TermsError](err); is {
			return nil, exit.With(exit.Usage, bad, "")
		} else if err != nil {
			return nil, err
		}
		r.c.Audit.Add(auth.Entry{What: "token-made", Who: admin.Who(ctx), Subject: made.ID, Detail: rightsText(made)})
		r.log.Info("token made", "token", made.ID, "publish", made.Publish, "read", made.Read, "expires", made.Expires)
		return TokenMade{V: 1, ID: made.ID, Token: token, Expires: made.Expires}, nil
	})
	door.Handle("tokens", func(_ context.Context, args json.RawMessage) (any, error) {
		if err := admin.Arguments(args, &struct{}{}); err != nil {
			return nil, err
		}
		list, err := a.Tokens.List(time.Now())
		return TokenList{V: 1, Tokens: list}, err
	})
	door.Handle("showtoken", func(_ context.Context, args json.RawMessage) (any, error) {
		var o TokenText
		if err := admin.Arguments(args, &o); err != nil {
			return nil, err
		}
		return showToken(a, o.Token)
	})
	door.Handle("revoketoken", func(ctx context.Context, args json.RawMessage) (any, error) {
		var o Revocation
		if err := admin.Arguments(args, &o); err != nil {
			return nil, err
		}
		here, err := a.Tokens.Revoke(o.ID, time.Now())
		if bad, is := errors.AsType[*auth.TermsError](err); is {
			return nil, exit.With(exit.Usage, bad, "ec-relay token list has the ids")
		} else if err != nil {
			return nil, err
		}
		done := TokenRevoked{V: 1, ID: o.ID, Here: here, Sessions: r.lookAtGrants(time.Now())}
		r.c.Audit.Add(auth.Entry{What: "token-revoked", Who: admin.Who(ctx), Subject: o.ID})
		r.log.Info("token revoked", "token", o.ID, "sessions", done.Sessions)
		return done, nil
	})
}

// rightsText says what a token allows, for people.
func rightsText(m auth.Made) string {
	var parts []string
	for _, p := range []struct {
		word string
		list []string
	}{{"publish below", m.Publish}, {"read below", m.Read}, {"key", slices.DeleteFunc([]string{m.Client}, func(s string) bool { return s == "" })}} {
		if len(p.list) > 0 {
			parts = append(parts, p.word+" "+strings.Join(p.list, " "))
		}
	}
	if m.Expires != nil {
		parts = append(parts, "until "+m.Expires.UTC().Format(time.RFC3339))
	}
	return strings.Join(append(parts, m.Subject), ", ")
}

func (o TokenOrder) terms() (t auth.Terms, err error) {
	t = auth.Terms{Client: o.Client, Subject: o.Subject, Note: o.Note}
	if t.Limits, err = limits.ParseSet(o.Limits); err != nil {
		return t, err
	}
	if o.Life != 0 {
		if !(o.Life >= auth.MinLife.Seconds() && o.Life <= auth.MaxLife.Seconds()) {
			return t, fmt.Errorf("good for %g seconds: want %v to %v", o.Life, auth.MinLife, auth.MaxLife)
		}
		t.Life = time.Duration(o.Life * float64(time.Second))
	}
	for _, part := range []struct {
		to   *[]object.Namespace
		list []string
	}{{&t.Publish, o.Publish}, {&t.Read, o.Read}} {
		for _, text := range part.list {
			ns, err := auth.ParsePrefix(text)
			if err != nil {
				return t, err
			}
			*part.to = append(*part.to, ns)
		}
	}
	return t, t.Check()
}

func showToken(a *auth.Authority, text string) (TokenShown, error) {
	shown := TokenShown{V: 1}
	value, kind, err := auth.Parse(text)
	var g *auth.Grant
	if err == nil {
		g, err = a.Verify(kind, value, time.Now())
	}
	switch {
	case err != nil && !auth.Refusal(err):
		return shown, err
	case err != nil:
		shown.Why = err.Error()
	}
	if g == nil {
		return shown, nil
	}
	shown.ID, shown.Format, shown.Subject, shown.Key, shown.Limits = g.ID, g.By, g.Subject, g.Key, g.Limits.Map()
	if !g.NotBefore.IsZero() {
		shown.Begins = &g.NotBefore
	}
	if !g.Expires.IsZero() {
		shown.Expires = &g.Expires
	}
	for _, s := range g.Scopes {
		t := TokenScope{Below: s.String()}
		for a := range auth.TrackStatus + 1 {
			if s.Actions.Has(a) {
				t.Actions = append(t.Actions, a.String())
			}
		}
		shown.Allows = append(shown.Allows, t)
	}
	return shown, nil
}
