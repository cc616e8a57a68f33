package mesh

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/ticket"
)

// TestRefusedTokensAreFewLines: whoever comes with tokens that are worth nothing, again and again, writes no log with them.
func TestRefusedTokensAreFewLines(t *testing.T) {
	var text bytes.Buffer
	dir := t.TempDir()
	g := &Gate{Tickets: NewTickets(dir), Authority: &auth.Authority{Tokens: auth.NewTokens(dir)}, Log: slog.New(slog.NewTextHandler(&text, nil))}
	for range 1000 {
		for _, kind := range []uint64{auth.TypeJWT, ticket.TokenType} {
			if _, err := g.Grants(moqt.PeerInfo{RemoteAddr: "192.0.2.1:1", Tokens: []moqt.Token{{Type: kind, Value: []byte("x.y.z")}}}); err == nil {
				t.Fatal("taken")
			}
		}
	}
	if n := strings.Count(text.String(), "\n"); n == 0 || n > 10 {
		t.Errorf("%d lines", n)
	}
}
