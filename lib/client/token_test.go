package client

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/ticket"
)

const aJWT = "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"

// A token is shown to the relay that was named, and to no other; nowhere where others listen. One in a file is read for each session.
func TestTokenIsShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(aJWT + "\n")
	for _, c := range []struct {
		relay, to string
		kind      string
		want      uint64 // type of the token shown
		shown     bool
		code      int
	}{
		{"moqt://a:1", "moqt://a:1", "", auth.TypeJWT, true, 0},
		{"moqt://a:1", "moqt://a:1", "0x10", 16, true, 0},
		{"moqt://a:1", "moqt://b:1", "", 0, false, 0},
		{"https://a:1", "https://a:1/elsewhere", "", 0, false, 0},
		{"wss://a:1", "wss://a:1", "", auth.TypeJWT, true, 0},
		{"unix:///s", "unix:///s", "", auth.TypeJWT, true, 0},
		{"tcp://a:1", "tcp://a:1", "", 0, false, exit.NotAllowed},
		{"WS://a:1", "WS://a:1", "", 0, false, exit.NotAllowed},
	} {
		tok, err := NewToken("@"+file, c.kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []moqt.Token
		errDialed := errors.New("dialed")
		conf := showing(Config{Relay: c.relay, Token: tok, Dial: func(_ context.Context, _ string, _ *tls.Config, mc *moqt.Config) (*moqt.Session, error) {
			got = mc.Tokens
			return nil, errDialed
		}})
		_, err = conf.Dial(t.Context(), c.to, nil, &moqt.Config{})
		if code, _ := exit.Of(err); c.code != 0 && code != c.code || c.code == 0 && !errors.Is(err, errDialed) {
			t.Errorf("%s: %v", c.relay, err)
		}
		if (len(got) == 1) != c.shown || c.shown && (got[0].Type != c.want || string(got[0].Value) != aJWT) {
			t.Errorf("%s, %s: %v", c.relay, c.to, got)
		}
	}
	tok, err := NewToken("@"+file, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(aJWT, "c2ln", "b3Ro", 1))
	if v, err := tok.value(); err != nil || !strings.HasSuffix(string(v.Value), "b3RobmF0dXJl") {
		t.Errorf("the new one is not read: %v", err)
	}
	secret := "not-a-token-at-all"
	for _, text := range []string{secret, "@" + filepath.Join(t.TempDir(), "none"), (&ticket.Ticket{Addresses: []string{"moqt://a:1"}, Secret: ticket.NewSecret()}).String()} {
		if _, err := NewToken(text, "", nil); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
	if _, err := NewToken("", "x", nil); err == nil {
		t.Error("a type that is no number passes")
	}
	if tok, err := NewToken("", "", nil); tok != nil || err != nil {
		t.Error(tok, err)
	}
}
