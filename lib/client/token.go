package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// Token is what is shown to a relay to be allowed something there (docs/format/token.md).
type Token struct {
	text string
	file string // is read at every session, so that a new token can take the place of one that expires; empty: there is none
	kind uint64 // in place of the one of its format; 0: as its format has it
}

// NewToken takes a token as text, or @FILE, whose first line is the token. kind is the type with which it is sent, if not empty. No text is no
// token: then nil is returned. That others may read the file is said to log, nil for nobody.
func NewToken(text, kind string, log *slog.Logger) (_ *Token, err error) {
	t := &Token{text: text}
	if kind != "" {
		if t.kind, err = TokenType(kind); err != nil {
			return nil, err
		}
	}
	if text == "" {
		return nil, nil
	}
	if name, is := strings.CutPrefix(text, "@"); is {
		t.text, t.file = "", name
		if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o044 != 0 && !keys.Credential(name) && log != nil {
			log.Warn("others may read this token", "file", name, "mode", fmt.Sprintf("%#o", st.Mode().Perm()), "hint", "chmod 600 "+name)
		} else if err == nil && !st.Mode().IsRegular() { // a pipe has one line for once
			text, err := t.read()
			if err != nil {
				return nil, err
			}
			t.text = text
			t.file = ""
		}
	}
	_, err = t.value()
	return t, err
}

// TokenType reads a type of tokens, as --token-type has it.
func TokenType(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 0, 62)
	if err != nil {
		return 0, exit.With(exit.Usage, fmt.Errorf("--token-type %q: want a number, such as 16 or 0x10", text), "")
	}
	return n, nil
}

func (t *Token) read() (string, error) {
	if t.file == "" {
		return t.text, nil
	}
	f, err := os.Open(t.file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return firstLine(f, linePatience)
}

// value is the token as it is sent. Errors do not show it.
func (t *Token) value() (moqt.Token, error) {
	text, err := t.read()
	if err != nil {
		return moqt.Token{}, err
	}
	const hint = "ec-relay token make prints a token, where the relay runs; @FILE stands for the first line of a file"
	if ticket.Is(text) {
		return moqt.Token{}, exit.With(exit.Usage, errors.New("a ticket is no token"), "a ticket stands in place of the relay's address")
	}
	value, kind, err := auth.Parse(text)
	if err != nil {
		return moqt.Token{}, exit.With(exit.Usage, fmt.Errorf("token: %w", err), hint)
	}
	if t.kind != 0 {
		kind = t.kind
	}
	return moqt.Token{AliasType: wire.TokenUseValue, Type: kind, Value: value}, nil
}

// showing makes of a Config one whose sessions show the token to the relay, and to no other that it sends us to.
func showing(c Config) Config {
	t, relay, dial := c.Token, c.Relay, c.Dial
	c.Dial = func(ctx context.Context, address string, conf *tls.Config, mc *moqt.Config) (*moqt.Session, error) {
		if address != relay {
			return dial(ctx, address, conf, mc)
		}
		if !Secret(address) {
			return nil, &useless{fmt.Errorf("%s is not encrypted: a token is not sent there", address), exit.NotAllowed, "moqt://, https://, wss:// and unix:// will do"}
		}
		token, err := t.value()
		if err != nil {
			return nil, err
		}
		with := *mc
		with.Tokens = append(with.Tokens[:len(with.Tokens):len(with.Tokens)], token)
		return dial(ctx, address, conf, &with)
	}
	return c
}
