package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/limits"
)

// Reloadable are the settings that may have other values when a relay reads its configuration again. Files that settings name are read again
// whatever has changed.
var Reloadable = []string{
	"open", "private", "private-below", "allow", "deny", "token-key", "token-audience", "token-type",
	"retain", "max-bytes", "keep", "compress-after", "tier-after", "tier-retain",
	"max-sessions", "limit", "max-lag", "stall", "cache", "linger", "drain", "verbose",
}

// Anew is a configuration that was read again.
type Anew struct {
	ServerConfig
	Changed []string // settings with other values than those that the relay runs with
	Taken   func()   // is called when the relay runs with it; may be nil
}

// Reloaded is the record of the command reload.
type Reloaded struct {
	V       int      `json:"v"`       // 1
	Changed []string `json:"changed"` // settings with other values than before
}

// reload reads the configuration again and takes it over, whole or, with an error, not at all.
func (s *running) reload(who string) (Reloaded, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	done := Reloaded{V: 1, Changed: []string{}}
	if s.c.Reread == nil {
		return done, exit.With(exit.Usage, fmt.Errorf("this relay does not read its configuration again"), "")
	}
	begun := time.Now()
	if s.c.Reloading != nil {
		s.c.Reloading(true)
		defer s.c.Reloading(false)
	}
	next, err := s.readAgain()
	e := auth.Entry{What: "reload", Who: who, Detail: strings.Join(next.Changed, " ")}
	if err != nil {
		e.What, e.Err = "reload-refused", err.Error()
		s.audit.Add(e)
		s.c.Logger.Error("configuration read again and refused, nothing has changed", "by", who, "err", err)
		return done, err
	}
	s.takeOver(next)
	if next.Taken != nil {
		next.Taken()
	}
	if done.Changed = next.Changed; done.Changed == nil {
		done.Changed = []string{}
	}
	s.audit.Add(e)
	s.c.Logger.Info("configuration read again", "by", who, "changed", done.Changed, "took", time.Since(begun).Round(time.Millisecond))
	return done, nil
}

// readAgain reads the configuration, and reports what keeps it from being taken over.
func (s *running) readAgain() (Anew, error) {
	next, err := s.c.Reread()
	if err != nil {
		return next, err
	}
	for _, name := range next.Changed {
		if !slices.Contains(Reloadable, name) {
			return next, exit.With(exit.Config, fmt.Errorf("%s has another value, which takes a restart", name), "nothing was changed: start the relay anew, or take that back; man ec-relay names under reload what can be read again")
		}
	}
	return next, Check(next.ServerConfig)
}

// takeOver makes a configuration that was checked hold.
func (s *running) takeOver(next Anew) {
	c := next.ServerConfig
	s.authority.Trusts(trustOf(c, s.certs.Pin().String()))
	s.gate.SetPolicy(policyOf(c))
	s.store.Keep(c.Store)
	s.relay.Tune(c.Relay)
	s.limits.Tune(tableOf(c))
	if s.c.Level != nil {
		s.c.Level.Set(levelOf(c))
	}
	s.certs.Refresh()
	if err := s.relay.c.Takedowns.Reread(); err != nil { // it was checked a moment ago
		s.c.Logger.Error("takedowns not read again, those of before hold", "err", err)
	}
	s.relay.lookAtGrants(time.Now())
	s.relay.Enforce()
}

// policyOf is what a configuration says of everybody, and of who and what is kept out.
func policyOf(c ServerConfig) auth.Policy {
	return auth.Policy{Open: c.Open, Private: c.Private, PrivateBelow: c.PrivateBelow, Allow: c.Allow, Deny: c.Deny}
}

// trustOf is whose tokens a relay with a key takes.
func trustOf(c ServerConfig, pin string) auth.Trust {
	return auth.Trust{Files: c.TokenKeys, Types: c.TokenTypes, Audiences: append([]string{pin}, c.TokenAudiences...)}
}

func levelOf(c ServerConfig) slog.Level {
	if c.Verbose {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// handleReload adds the command to the operators' door.
func (s *running) handleReload() {
	s.door.Handle("reload", func(ctx context.Context, args json.RawMessage) (any, error) {
		if err := admin.Arguments(args, &struct{}{}); err != nil {
			return nil, err
		}
		return s.reload(admin.Who(ctx))
	})
}

// obey reads the configuration again whenever a signal asks for that, until ctx ends.
func (s *running) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.c.Hangup:
			s.reload("signal") // which logs what is wrong
		}
	}
}

// tableOf are the limits of a configuration.
func tableOf(c ServerConfig) limits.Table {
	t := c.Limits
	t[limits.Sessions].All = cmp.Or(t[limits.Sessions].All, int64(c.Relay.MaxSessions))
	return t
}

// Tune takes over from a configuration MaxLag, Linger, DrainTimeout, StallWait and CacheBytes.
func (r *Relay) Tune(c Config) {
	c = c.withDefaults()
	r.tuned.Store(&tuning{maxLag: c.MaxLag, linger: c.Linger, drain: c.DrainTimeout})
	r.live.Tune(c.CacheBytes, c.StallWait)
}

// tuning is what Tune may change.
type tuning struct {
	maxLag        int
	linger, drain time.Duration
}
