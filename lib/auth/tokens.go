package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/object"
)

// TokensFile is the file in the store's folder that says which tokens were made there and which are revoked. No token is in it.
const TokensFile = "tokens"

// Bounds of tokens.
const (
	// MaxNote is how long a note may be, in bytes.
	MaxNote = 200
	// MinLife and MaxLife are the shortest and the longest time for which a token is good, if not for ever.
	MinLife, MaxLife = time.Second, 100 * 365 * 24 * time.Hour
	// MaxPrefixes bounds the namespaces that are named for publishing, and those for reading.
	MaxPrefixes = 16
	// maxTokens bounds those that are remembered; expired ones are forgotten.
	maxTokens = 8192
	// maxTokensFile bounds the file, in bytes.
	maxTokensFile = 16 << 20
	// maxID bounds the id of a token, in bytes.
	maxID = 256
)

// Made is a line of the file: a token that was made here, one that was revoked, or both.
type Made struct {
	V       int        `json:"v"`
	ID      string     `json:"id"`
	Expires *time.Time `json:"expires,omitempty"` // never without, or not known
	Client  string     `json:"client,omitempty"`  // pin of the key that stands for a token: whoever proves to have it may
	Publish []string   `json:"publish,omitempty"`
	Read    []string   `json:"read,omitempty"`
	Subject string     `json:"subject,omitempty"`
	Note    string     `json:"note,omitempty"`
	Revoked *time.Time `json:"revoked,omitempty"` // since when
	// Limits are what its holders may use up together, by the names of package limits.
	Limits map[string]int64 `json:"limits,omitempty"`
}

func (m Made) over(now time.Time) bool { return m.Expires != nil && !now.Before(*m.Expires) }

// Tokens are those of the file. Methods may be called concurrently.
type Tokens struct {
	mu   sync.Mutex // guards file
	file Lines[Made]
}

// NewTokens returns the tokens of a folder's file.
func NewTokens(dir string) *Tokens {
	return &Tokens{file: Lines[Made]{
		Path: filepath.Join(dir, TokensFile), Max: maxTokensFile, Temp: ".tokens-*", What: "token",
		Good: func(m Made) bool { return m.V == 1 && m.ID != "" },
		ID:   func(m Made) string { return m.ID },
	}}
}

// Terms are the terms of a new token.
type Terms struct {
	// Publish and Read are the namespaces below which the holder may publish and read. Needed: one of both.
	Publish, Read []object.Namespace
	// Client is the pin of a key, 64 hex digits, whose holder needs no token. Default: it is a token.
	Client string
	// Life is how long the token is good. Default 0: for ever.
	Life time.Duration
	// Limits bound what its holders may use up together. Default: as others in their place.
	Limits limits.Set
	// Subject is whom it is for, and Note what it was made for. The token itself holds the first of both.
	Subject, Note string
}

// TermsError says why a token cannot be made.
type TermsError struct{ err error }

func (e *TermsError) Error() string { return e.err.Error() }
func (e *TermsError) Unwrap() error { return e.err }

// Check returns a TermsError for terms that no token may have.
func (t Terms) Check() error {
	bad := func(format string, args ...any) error { return &TermsError{fmt.Errorf(format, args...)} }
	switch {
	case len(t.Publish)+len(t.Read) == 0:
		return bad("the token would allow nothing: it needs a namespace to publish or to read")
	case t.Client != "" && !isPin(t.Client):
		return bad("%q is no pin of a key: want 64 hex digits", t.Client)
	case len(t.Publish) > MaxPrefixes || len(t.Read) > MaxPrefixes:
		return bad("more than %d namespaces", MaxPrefixes)
	case t.Life != 0 && (t.Life < MinLife || t.Life > MaxLife):
		return bad("good for %v: want %v to %d years, and 0 is for ever", t.Life, MinLife, MaxLife/(365*24*time.Hour))
	}
	for _, text := range []string{t.Subject, t.Note} {
		switch {
		case len(text) > MaxNote:
			return bad("a note or subject of %d bytes: want at most %d", len(text), MaxNote)
		case strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text):
			return bad("a note or subject of more than one line, or not of letters")
		}
	}
	return nil
}

func isPin(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == sha256.Size
}

// Make makes a token, signs it and notes that it was made. For a client's key it notes what the key allows, and there is no token.
func (ts *Tokens) Make(t Terms, key ed25519.PrivateKey, now time.Time) (token string, made Made, err error) {
	if err := t.Check(); err != nil {
		return "", Made{}, err
	}
	var id [8]byte
	rand.Read(id[:])
	made = Made{V: 1, ID: hex.EncodeToString(id[:]), Client: strings.ToLower(t.Client), Subject: t.Subject, Note: t.Note, Limits: t.Limits.Map()}
	for _, ns := range t.Publish {
		made.Publish = append(made.Publish, WritePrefix(ns))
	}
	for _, ns := range t.Read {
		made.Read = append(made.Read, WritePrefix(ns))
	}
	c := claims{Publish: made.Publish, Read: made.Read, Limits: made.Limits}
	c.ID, c.Subject, c.IssuedAt = made.ID, t.Subject, jwt.NewNumericDate(now)
	if t.Life > 0 {
		end := now.Add(t.Life + time.Second - 1).UTC().Truncate(time.Second) // not earlier than asked for
		made.Expires, c.ExpiresAt = &end, numericDate(end)
	}
	if t.Client != "" {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		return "", made, ts.add(made, now)
	}
	if token, err = sign(c, KeyID(key.Public().(ed25519.PublicKey)), key); err != nil {
		return "", Made{}, err
	}
	if len(token) > MaxToken {
		return "", Made{}, &TermsError{fmt.Errorf("a token of %d bytes, longer than %d", len(token), MaxToken)}
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return token, made, ts.add(made, now)
}

// add writes the file with one more line, or one that has changed, and without those that are over; ts.mu is held.
func (ts *Tokens) add(m Made, now time.Time) error {
	known, err := ts.file.Read()
	if err != nil {
		return err
	}
	known = slices.DeleteFunc(slices.Clone(known), func(o Made) bool { return o.over(now) || o.ID == m.ID })
	if len(known) >= maxTokens {
		return fmt.Errorf("%s: %d tokens are remembered already", ts.file.Path, len(known))
	}
	return ts.file.Write(append(known, m))
}

// List returns what is known of tokens that are not over, in the order in which it was noted.
func (ts *Tokens) List(now time.Time) ([]Made, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	known, err := ts.file.Read()
	if err != nil {
		return nil, err
	}
	list := []Made{}
	for _, m := range known {
		if !m.over(now) {
			list = append(list, m)
		}
	}
	return list, nil
}

// goodID reports whether an id can be named to revoke a token. A token with another one is known by a hash.
func goodID(id string) bool {
	return id != "" && len(id) <= maxID && !strings.ContainsFunc(id, unicode.IsControl) && utf8.ValidString(id)
}

// Revoke lets the token with an id be worth nothing from now on. here reports whether it was made here and is not over.
func (ts *Tokens) Revoke(id string, now time.Time) (here bool, err error) {
	if !goodID(id) {
		return false, &TermsError{errors.New("no id of a token")}
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	known, err := ts.file.Read()
	if err != nil {
		return false, err
	}
	since := now.UTC().Truncate(time.Second)
	m := Made{V: 1, ID: id, Revoked: &since}
	if i := slices.IndexFunc(known, func(o Made) bool { return o.ID == id && !o.over(now) }); i >= 0 {
		if known[i].Revoked != nil {
			return true, nil
		}
		here, m = true, known[i]
		m.Revoked = &since
	}
	return here, ts.add(m, now)
}

// OfKeys reports whether there are keys of clients that allow something.
func (ts *Tokens) OfKeys() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	known, _ := ts.file.Read()
	return slices.ContainsFunc(known, func(m Made) bool { return m.Client != "" && m.Revoked == nil })
}

// ByKey returns what the key with a pin allows its holder, be it expired or not.
func (ts *Tokens) ByKey(pin string) (list []*Grant, err error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	known, err := ts.file.Read()
	if err != nil {
		return nil, err
	}
	for _, m := range known {
		if m.Client != pin || m.Revoked != nil {
			continue
		}
		g := &Grant{ID: m.ID, By: "client", Subject: m.Subject, Key: pin}
		if g.Limits, err = limits.ParseSet(m.Limits); err != nil {
			return nil, fmt.Errorf("%s: entry %s: %w", ts.file.Path, m.ID, err)
		}
		if m.Expires != nil {
			g.Expires = *m.Expires
		}
		for _, part := range []struct {
			actions  Actions
			prefixes []string
		}{{ToPublish, m.Publish}, {ToRead, m.Read}} {
			for _, text := range part.prefixes {
				if ns, err := ParsePrefix(text); err == nil { // else somebody wrote it by hand
					g.Scopes = append(g.Scopes, Below(part.actions, ns))
				}
			}
		}
		list = append(list, g)
	}
	return list, nil
}

// stands reports whether a client's key still allows what it did.
func (ts *Tokens) stands(id, pin string, now time.Time) (bool, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	known, err := ts.file.Of(id, now)
	return slices.ContainsFunc(known, func(m Made) bool { return m.Client == pin && m.Revoked == nil }), err
}

// revoked reports whether the token with an id is worth nothing.
func (ts *Tokens) revoked(id string, now time.Time) (bool, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	known, err := ts.file.Of(id, now)
	return slices.ContainsFunc(known, func(m Made) bool { return m.Revoked != nil }), err
}
