package moqt

import (
	"fmt"
	"sync"

	"every.channel/ec/lib/moqt/wire"
)

// tokenCache holds the authorization tokens a peer registered under aliases (§9.2.2.1).
type tokenCache struct {
	mu     sync.Mutex
	limit  int
	size   int
	tokens map[uint64]Token
}

// tokenOverhead is what a registered token counts besides its value (§9.3.1.4).
const tokenOverhead = 16

func (c *tokenCache) init(limit int) {
	c.limit = max(limit, 0)
	c.tokens = map[uint64]Token{}
}

// resolveSetup takes the tokens of a setup message. There a registration that does not fit counts as a plain value, and
// aliases may not be used, as none can exist.
func (c *tokenCache) resolveSetup(ts []Token) ([]Token, error) {
	var out []Token
	for _, t := range ts {
		switch t.AliasType {
		case wire.TokenDelete, wire.TokenUseAlias:
			return nil, violation("setup with token alias type %d", t.AliasType)
		case wire.TokenRegister:
			if len(t.Value)+tokenOverhead+c.size <= c.limit {
				if err := c.register(t); err != nil {
					return nil, err
				}
			}
		}
		out = append(out, Token{AliasType: wire.TokenUseValue, Type: t.Type, Value: t.Value})
	}
	return out, nil
}

// resolve replaces aliases by the tokens they stand for. refusal: the request is to be refused; err: the session is to be closed.
func (c *tokenCache) resolve(ts []Token) (out []Token, refusal *RequestError, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range ts {
		switch t.AliasType {
		case wire.TokenDelete:
			old, ok := c.tokens[t.Alias]
			if !ok {
				return nil, nil, &wire.Error{Code: wire.UnknownAuthTokenAlias, What: fmt.Sprintf("token alias %d deleted", t.Alias)}
			}
			delete(c.tokens, t.Alias)
			c.size -= len(old.Value) + tokenOverhead
			continue
		case wire.TokenRegister:
			if err := c.register(t); err != nil {
				return nil, nil, err
			}
		case wire.TokenUseAlias:
			old, ok := c.tokens[t.Alias]
			if !ok {
				// The draft wants the message rejected with a code that it defines for sessions only.
				return nil, nil, &wire.Error{Code: wire.UnknownAuthTokenAlias, What: fmt.Sprintf("token alias %d used", t.Alias)}
			}
			t = old
		}
		out = append(out, Token{AliasType: wire.TokenUseValue, Type: t.Type, Value: t.Value})
	}
	for i, a := range out {
		for _, b := range out[:i] {
			if a.Type == b.Type && string(a.Value) == string(b.Value) {
				return nil, &RequestError{Code: wire.RequestMalformedAuthToken, Reason: "the same token twice"}, nil
			}
		}
	}
	return out, nil, nil
}

func (c *tokenCache) register(t Token) error {
	if _, ok := c.tokens[t.Alias]; ok {
		return &wire.Error{Code: wire.DuplicateAuthTokenAlias, What: fmt.Sprintf("token alias %d", t.Alias)}
	}
	n := len(t.Value) + tokenOverhead
	if c.size+n > c.limit {
		return &wire.Error{Code: wire.AuthTokenCacheOverflow, What: fmt.Sprintf("token of %d bytes", len(t.Value))}
	}
	c.size += n
	c.tokens[t.Alias] = t
	return nil
}
