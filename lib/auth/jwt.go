package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/object"
)

// claims of a JSON Web Token. Those that limit a token in a way that is not known here are refused (confined).
type claims struct {
	jwt.RegisteredClaims
	Publish   []string `json:"publish,omitempty"`
	Subscribe []string `json:"subscribe,omitempty"`
	Fetch     []string `json:"fetch,omitempty"`
	List      []string `json:"list,omitempty"`
	Read      []string `json:"read,omitempty"` // subscribe, fetch and list

	// Limits bound what the holders may use up together (package limits).
	Limits map[string]int64 `json:"limits,omitempty"`

	// Confirmation binds the token to a key of its holder (RFC 7800).
	Confirmation json.RawMessage `json:"cnf,omitempty"`
}

// maxScopes bounds the scopes of a token.
const maxScopes = 64

// verifyJWT checks a JSON Web Token. The times are checked by the caller.
func (a *Authority) verifyJWT(token string, now time.Time) (*Grant, error) {
	head, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(token, &claims{})
	switch {
	case errors.Is(err, jwt.ErrTokenUnverifiable): // an algorithm that nobody knows
		return nil, ErrUnknownKey
	case err != nil:
		return nil, malformed("%v", err)
	}
	if typ, has := head.Header["typ"].(string); has && !strings.EqualFold(typ, "JWT") { // RFC 8725 §3.11
		return nil, refused("it is of type %.32q", typ)
	}
	if _, has := head.Header["crit"]; has { // RFC 7515 §4.1.11: nothing of it is understood here
		return nil, refused("it has critical parameters")
	}
	kid, _ := head.Header["kid"].(string)
	candidates, err := a.keys(kid, now)
	if err != nil {
		return nil, err
	}
	for _, k := range candidates {
		alg, err := algorithm(k.Public)
		if err != nil {
			continue
		}
		var c claims
		p := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation(), jwt.WithValidMethods([]string{alg}))
		if _, err = p.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return k.Public, nil }); err == nil {
			return c.grant(token, k, a.trusted().Audiences)
		}
	}
	return nil, ErrUnknownKey
}

func (c *claims) grant(token string, by Key, audiences []string) (*Grant, error) {
	if c.Confirmation != nil {
		return nil, refused("it is bound to a key (cnf), which cannot be checked here")
	}
	if len(c.Audience) > 0 && !overlaps(c.Audience, audiences) {
		return nil, refused("it is for another audience")
	}
	g := &Grant{ID: c.ID, By: "jwt", Subject: c.Subject, Key: by.ID, signer: &by}
	if !goodID(g.ID) {
		g.ID = hashID([]byte(strings.Split(token, ".")[1]))
	}
	if c.ExpiresAt != nil {
		g.Expires = c.ExpiresAt.Time
	}
	if c.NotBefore != nil {
		g.NotBefore = c.NotBefore.Time
	}
	for _, part := range []struct {
		actions  Actions
		prefixes []string
	}{{ToPublish, c.Publish}, {ToSubscribe, c.Subscribe}, {ToFetch, c.Fetch}, {ToList, c.List}, {ToRead, c.Read}} {
		for _, text := range part.prefixes {
			ns, err := ParsePrefix(text)
			if err != nil {
				return nil, malformed("%v", err)
			}
			g.Scopes = append(g.Scopes, Below(part.actions, ns))
		}
	}
	var err error
	if g.Limits, err = limits.ParseSet(c.Limits); err != nil { // what is not understood may bind it
		return nil, refused("%v", err)
	}
	if len(g.Scopes) > maxScopes {
		return nil, malformed("%d scopes, at most %d are taken", len(g.Scopes), maxScopes)
	}
	return g, nil
}

// ParsePrefix reads the written form of a namespace below which something is allowed. "*" is every one.
func ParsePrefix(text string) (object.Namespace, error) {
	if text == Every {
		return nil, nil
	}
	return object.ParseNamespace(text)
}

// Every, in place of the written form of a namespace, is every one.
const Every = "*"

// WritePrefix writes what ParsePrefix reads.
func WritePrefix(ns object.Namespace) string {
	if len(ns) == 0 {
		return Every
	}
	return ns.String()
}

func overlaps(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// hashID is the id of a token that has none: digits of the hash of what is signed, because a signature can be written in several ways.
func hashID(signed []byte) string {
	sum := sha256.Sum256(signed)
	return hex.EncodeToString(sum[:8])
}

// sign makes a JSON Web Token of claims.
func sign(c claims, kid string, key ed25519.PrivateKey) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["kid"] = kid
	return t.SignedString(key)
}

func numericDate(t time.Time) *jwt.NumericDate {
	if t.IsZero() {
		return nil
	}
	return jwt.NewNumericDate(t)
}
