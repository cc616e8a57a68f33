package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/veraison/go-cose"

	"every.channel/ec/lib/object"
)

var now = time.Unix(1_700_003_600, 0)

// place is an authority with its own key, and a key of ES256 from a file.
type place struct {
	*Authority
	own   ed25519.PrivateKey
	other *ecdsa.PrivateKey
	dir   string
}

func newPlace(t testing.TB) *place {
	t.Helper()
	_, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{own: own, other: other, dir: t.TempDir()}
	p.Authority = &Authority{
		Own: own.Public().(ed25519.PublicKey), Files: []string{filepath.Join(p.dir, "other.pem")}, Audiences: []string{"here"}, Tokens: NewTokens(p.dir),
	}
	p.write(t, other.Public())
	return p
}

func (p *place) write(t testing.TB, public crypto.PublicKey) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Files[0], pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

// jwtOf signs claims as an attacker would: with any method and key.
func jwtOf(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, c map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, jwt.MapClaims(c))
	for k, v := range header {
		tok.Header[k] = v
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// catOf signs claims as a Common Access Token.
func catOf(t testing.TB, alg cose.Algorithm, key crypto.Signer, kid string, c map[any]any) []byte {
	t.Helper()
	payload, err := cbor.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := cose.NewSigner(alg, key)
	if err != nil {
		t.Fatal(err)
	}
	h := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: alg}, Unprotected: cose.UnprotectedHeader{}}
	if kid != "" {
		h.Protected[cose.HeaderLabelKeyID] = []byte(kid)
	}
	b, err := cose.Sign1(rand.Reader, signer, h, payload, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	hd    = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}
	scope = []any{[]any{[]any{2, 6}, []any{[]byte("ec"), []byte("atsc")}}}
)

// TestAttacks is the table of tokens that are worth nothing, with why.
func TestAttacks(t *testing.T) {
	p := newPlace(t)
	_, stranger, _ := ed25519.GenerateKey(nil)
	foreign, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	later, before := now.Add(time.Hour).Unix(), now.Add(-time.Hour).Unix()
	ownID := KeyID(p.Own)
	der, _ := x509.MarshalPKIXPublicKey(p.Own)
	ecDER, _ := x509.MarshalPKIXPublicKey(p.other.Public())
	publicPEM, _ := os.ReadFile(p.Files[0])
	good := map[string]any{"publish": []string{"ec-atsc"}, "exp": later}
	with := func(pairs ...any) map[string]any {
		c := map[string]any{}
		for k, v := range good {
			c[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			c[pairs[i].(string)] = pairs[i+1]
		}
		return c
	}
	eddsa := jwt.SigningMethodEdDSA
	fine := jwtOf(t, eddsa, p.own, nil, good)
	part := strings.Split(fine, ".")
	catGood := map[any]any{4: later, claimMOQT: scope}
	catWith := func(pairs ...any) map[any]any {
		c := map[any]any{}
		for k, v := range catGood {
			c[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			c[pairs[i]] = pairs[i+1]
		}
		return c
	}
	fineCAT := catOf(t, cose.AlgorithmES256, p.other, "other", catGood)
	mac := func() []byte { // COSE_Mac0 whose key is the public key that is no secret
		protected := []byte{0xa1, 0x01, 0x05}
		payload, _ := cbor.Marshal(catGood)
		tbs, _ := cbor.Marshal([]any{"MAC0", protected, []byte{}, payload})
		h := hmac.New(sha256.New, der)
		h.Write(tbs)
		b, _ := cbor.Marshal(cbor.Tag{Number: 17, Content: []any{protected, map[any]any{}, payload, h.Sum(nil)}})
		return b
	}()
	if _, here, err := p.Tokens.Make(Terms{Publish: []object.Namespace{{"ec"}}}, p.own, now); err != nil || here.ID == "" {
		t.Fatal(here, err)
	}
	revoked, made, err := p.Tokens.Make(Terms{Publish: []object.Namespace{{"ec"}}, Life: 2 * time.Hour}, p.own, now)
	if err != nil {
		t.Fatal(err)
	}
	if here, err := p.Tokens.Revoke(made.ID, now); !here || err != nil {
		t.Fatal(here, err)
	}
	noID := jwtOf(t, jwt.SigningMethodES256, p.other, nil, with("sub", "someone"))
	g, err := p.Verify(TypeJWT, []byte(noID), now)
	if err != nil || len(g.ID) != 16 {
		t.Fatal(g, err)
	}
	if here, err := p.Tokens.Revoke(g.ID, now); here || err != nil {
		t.Fatal(here, err)
	}
	for _, c := range []struct {
		name  string
		kind  uint64
		token string
		want  error // nil: it is good
	}{
		{"good, EdDSA", TypeJWT, fine, nil},
		{"good, with the id of the key", TypeJWT, jwtOf(t, eddsa, p.own, map[string]any{"kid": ownID}, good), nil},
		{"good, ES256", TypeJWT, jwtOf(t, jwt.SigningMethodES256, p.other, map[string]any{"kid": "other"}, good), nil},
		{"good, agreed otherwise", TypeOutOfBand, fine, nil},
		{"good, for this audience", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("aud", []string{"there", "here"})), nil},
		{"good CAT", TypeCAT, string(fineCAT), nil},
		{"good CAT, EdDSA and the tag of CWT", TypeCAT, "\xd8\x3d" + string(catOf(t, cose.AlgorithmEdDSA, p.own, "", catGood)), nil},
		{"good CAT, agreed otherwise", TypeOutOfBand, string(fineCAT), nil},

		{"empty", TypeJWT, "", ErrMalformed},
		{"not a token", TypeJWT, "hello", ErrMalformed},
		{"oversized", TypeJWT, part[0] + "." + part[1] + "." + strings.Repeat("A", MaxToken), ErrMalformed},
		{"JWT under the number of CAT", TypeCAT, fine, ErrMalformed},
		{"CAT under the number of JWT", TypeJWT, string(fineCAT), ErrMalformed},
		{"four parts", TypeJWT, fine + ".x", ErrMalformed},
		{"padded", TypeJWT, part[0] + "." + part[1] + "==." + part[2], ErrMalformed},
		{"scope that is no namespace", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("publish", []string{"ec--x"})), ErrMalformed},
		{"scope that is no list", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("publish", "ec")), ErrMalformed},
		{"date that is none", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("exp", "tomorrow")), ErrMalformed},
		{"too many scopes", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("publish", strings.Split(strings.Repeat("ec ", maxScopes), " ")[:maxScopes], "read", []string{"ec"})), ErrMalformed},

		{"expired", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("exp", before)), ErrExpired},
		{"expires now", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("exp", now.Unix())), ErrExpired},
		{"not yet", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("nbf", now.Unix()+1)), ErrNotYet},
		{"another audience", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("aud", "there")), ErrRefused},
		{"bound to a key of its holder", TypeJWT, jwtOf(t, eddsa, p.own, nil, with("cnf", map[string]any{"jkt": "x"})), ErrRefused},
		{"critical parameters", TypeJWT, jwtOf(t, eddsa, p.own, map[string]any{"crit": []string{"b64"}, "b64": false}, good), ErrRefused},
		{"proof in place of a token", TypeJWT, jwtOf(t, eddsa, p.own, map[string]any{"typ": "dpop-proof+jwt"}, good), ErrRefused},
		{"revoked", TypeJWT, revoked, ErrRevoked},
		{"revoked by its hash", TypeJWT, noID, ErrRevoked},

		{"key of a stranger", TypeJWT, jwtOf(t, eddsa, stranger, nil, good), ErrUnknownKey},
		{"key of a stranger under our id", TypeJWT, jwtOf(t, eddsa, stranger, map[string]any{"kid": ownID}, good), ErrUnknownKey},
		{"another key's id", TypeJWT, jwtOf(t, eddsa, p.own, map[string]any{"kid": "other"}, good), ErrUnknownKey},
		{"key in the header", TypeJWT, jwtOf(t, eddsa, stranger, map[string]any{"jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(stranger.Public().(ed25519.PublicKey))}}, good), ErrUnknownKey},
		{"no signature (none)", TypeJWT, jwtOf(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, good), ErrUnknownKey},
		{"no signature (None)", TypeJWT, base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None"}`)) + "." + part[1] + ".", ErrUnknownKey},
		{"signature left out", TypeJWT, part[0] + "." + part[1] + ".", ErrUnknownKey},
		{"signature of something else", TypeJWT, part[0] + "." + strings.Split(jwtOf(t, eddsa, p.own, nil, with("publish", []string{"*"})), ".")[1] + "." + part[2], ErrUnknownKey},
		{"HS256 with our public key", TypeJWT, jwtOf(t, jwt.SigningMethodHS256, []byte(p.Own), nil, good), ErrUnknownKey},
		{"HS256 with our public key as DER", TypeJWT, jwtOf(t, jwt.SigningMethodHS256, der, map[string]any{"kid": ownID}, good), ErrUnknownKey},
		{"HS256 with the other key's PEM", TypeJWT, jwtOf(t, jwt.SigningMethodHS256, publicPEM, map[string]any{"kid": "other"}, good), ErrUnknownKey},
		{"HS512 with the other key's DER", TypeJWT, jwtOf(t, jwt.SigningMethodHS512, ecDER, nil, good), ErrUnknownKey},
		{"RS256", TypeJWT, jwtOf(t, jwt.SigningMethodRS256, rsaKey, nil, good), ErrUnknownKey},
		{"ES256 under the header of EdDSA", TypeJWT, part[0] + "." + part[1] + "." + strings.Split(jwtOf(t, jwt.SigningMethodES256, p.other, nil, good), ".")[2], ErrUnknownKey},
		{"ES256 of a stranger", TypeJWT, jwtOf(t, jwt.SigningMethodES256, foreign, nil, good), ErrUnknownKey},
		{"an algorithm nobody knows", TypeJWT, base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"XX1"}`)) + "." + part[1] + "." + part[2], ErrUnknownKey},

		{"CAT, not CBOR", TypeCAT, "\xd2\xff", ErrMalformed},
		{"CAT, cut off", TypeCAT, string(fineCAT[:len(fineCAT)-1]), ErrMalformed},
		{"CAT, with more behind", TypeCAT, string(fineCAT) + "\x00", ErrMalformed},
		{"CAT, a MAC with our public key", TypeCAT, string(mac), ErrMalformed},
		{"CAT, expired", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(4, before))), ErrExpired},
		{"CAT, expires after a while as a float", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(4, float64(later)+0.5))), nil},
		{"CAT, expires never as a float that is none", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(4, nan()))), ErrMalformed},
		{"CAT, not yet", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(5, later))), ErrNotYet},
		{"CAT, another audience", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(3, []string{"there"}))), ErrRefused},
		{"CAT, for this audience", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(3, "here"))), nil},
		{"CAT, a network it is confined to", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(311, []any{"x"}))), ErrRefused},
		{"CAT, bound to a key", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(8, map[any]any{3: []byte("x")}))), ErrRefused},
		{"CAT, composite", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(324, []any{map[any]any{4: later}}))), ErrRefused},
		{"CAT, a claim with a name", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith("geo", "x"))), ErrRefused},
		{"CAT, version 2", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(310, 2))), ErrRefused},
		{"CAT, to be checked every 10 ms", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(328, 0.01))), ErrRefused},
		{"CAT, to be checked every 5 min", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(310, 1, 328, 300))), nil},
		{"CAT, no action", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(claimMOQT, []any{[]any{[]any{}}}))), ErrMalformed},
		{"CAT, nil within a namespace", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(claimMOQT, []any{[]any{[]any{6}, []any{nil, []byte("ec")}}}))), ErrMalformed},
		{"CAT, a match of kind 3", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(claimMOQT, []any{[]any{[]any{6}, []any{[]any{3, []byte("ec")}}}}))), ErrMalformed},
		{"CAT, a match of text", TypeCAT, string(catOf(t, cose.AlgorithmES256, p.other, "", catWith(claimMOQT, []any{[]any{[]any{6}, []any{"ec"}}}))), ErrMalformed},
		{"CAT, key of a stranger", TypeCAT, string(catOf(t, cose.AlgorithmES256, foreign, "", catGood)), ErrUnknownKey},
		{"CAT, key of a stranger under our id", TypeCAT, string(catOf(t, cose.AlgorithmEdDSA, stranger, ownID, catGood)), ErrUnknownKey},
	} {
		g, err := p.Verify(c.kind, []byte(c.token), now)
		switch {
		case c.want == nil && (err != nil || !g.Track(Publish, hd) || g.Track(Subscribe, hd) || g.Namespace(PublishNamespace, object.Namespace{"other"})):
			t.Errorf("%s: %+v, %v", c.name, g, err)
		case c.want != nil && (!errors.Is(err, c.want) || !Refusal(err)):
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		case err != nil && len(c.token) > 100 && strings.Contains(err.Error(), c.token[50:100]):
			t.Errorf("%s: the error shows the token: %v", c.name, err)
		}
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

// TestVectors are numbers of draft-ietf-moq-c4m-01 appendix A: a token in ES256, and what its scopes match.
func TestVectors(t *testing.T) {
	b64 := "0oRIogEmEGNDQVSgWEmkAXgYaHR0cHM6Ly9hdXRoLmV4YW1wbGUuY29tA4F4HWh0dHBzOi8vbW9xLXJlbGF5LmV4YW1wbGUuY29tBBplVUKA" +
		"BRplU_EAWEDtjPWG8yukEPKzCXZC6zIlXI3FVengWMSAhICd9VeIe8XuSXSp71xFV8FVfeeZYotjTK-qG3TJNpaODJw6SPIi"
	value, kind, err := Parse(b64)
	if err != nil || kind != TypeCAT {
		t.Fatal(kind, err)
	}
	point, _ := hex.DecodeString("0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299")
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	p.write(t, public)
	p.Audiences = []string{"https://moq-relay.example.com"}
	g, err := p.Verify(kind, value, now)
	if err != nil || !g.Expires.Equal(time.Unix(1700086400, 0)) || g.Key != "other" {
		t.Fatal(g, err)
	}
	if _, err := p.Verify(kind, value, time.Unix(1700086400, 0)); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	type try struct {
		a     Action
		ns    string
		track string
		want  bool
	}
	for payload, tries := range map[string][]try{
		"a301781868747470733a2f2f617574682e6578616d706c652e636f6d041a655542801901478183820206824b6578616d706c652e636f6d45616c696365820146766964656f2d": {
			{2, "example.com alice", "video-hd", true}, {6, "example.com alice", "video-sd", true}, {6, "example.com alice", "audio-main", false},
			{4, "example.com alice", "video-hd", false}, {6, "example.com bob", "video-hd", false},
		},
		"a301781868747470733a2f2f617574682e6578616d706c652e636f6d041a6555428019014781828303040781820152636f6e666572656e63652e6578616d706c65": {
			{4, "conference.example.room1", "audio", true}, {7, "conference.example.room2", "video", true},
			{4, "other.domain", "audio", false}, {6, "conference.example.room1", "audio", false},
		},
		"a401781868747470733a2f2f617574682e6578616d706c652e636f6d041a655542801901478282820206824c6c6976652e6578616d706c654873747564696f2d6182" +
			"8204078182014c6c6976652e6578616d706c6519014819012c": {
			{6, "live.example studio-a", "cam1", true}, {4, "live.example.studio-b", "cam1", true},
			{6, "live.example studio-b", "cam1", false}, {2, "other.example studio-a", "", false},
		},
		"a301781868747470733a2f2f617574682e6578616d706c652e636f6d041a65554280190147818189000102030405060708": {
			{0, "any.namespace", "any-track", true}, {6, "any.namespace", "any-track", true}, {8, "any.namespace", "status", true},
		},
		"a301781868747470733a2f2f617574682e6578616d706c652e636f6d041a65554280190147818381048182024c2e6578616d706c652e636f6d8202462d617564696f": {
			{4, "cdn.example.com", "stream1-audio", true}, {4, "cdn.example.com", "stream1-video", false}, {4, "cdn.other.org", "stream1-audio", false},
		},
	} {
		b, err := hex.DecodeString(payload)
		if err != nil {
			t.Fatal(err)
		}
		g, err := catGrant(b, Key{ID: "x"}, nil)
		if err != nil {
			t.Fatalf("%.80s: %v", payload, err)
		}
		for _, c := range tries {
			if got := g.Track(c.a, object.TrackName{Namespace: strings.Fields(c.ns), Name: c.track}); got != c.want {
				t.Errorf("%d on %s %s: %v", c.a, c.ns, c.track, got)
			}
		}
	}
}

func TestScopes(t *testing.T) {
	alone := Scope{Actions: Of(Publish), Namespace: []Match{{Exact, "example"}, {Exact, "com"}}, End: true}
	for _, c := range []struct {
		s               Scope
		ns              string
		covers, touches bool
	}{
		{Below(ToRead, nil), "", true, true},
		{Below(ToRead, nil), "ec atsc", true, true},
		{Below(ToRead, object.Namespace{"ec", "atsc"}), "ec", false, true},
		{Below(ToRead, object.Namespace{"ec", "atsc"}), "", false, true},
		{Below(ToRead, object.Namespace{"ec", "atsc"}), "ec atsc", true, true},
		{Below(ToRead, object.Namespace{"ec", "atsc"}), "ec atsc 1", true, true},
		{Below(ToRead, object.Namespace{"ec", "atsc"}), "ec atscx", false, false},
		{Below(ToRead, object.Namespace{"ec", "atsc"}), "ec dvb", false, false},
		{alone, "example com", true, true},
		{alone, "example com more", false, false},
		{alone, "example", false, true},
	} {
		ns := object.Namespace(strings.Fields(c.ns))
		if c.s.covers(ns) != c.covers || c.s.touches(ns) != c.touches {
			t.Errorf("%v, %q: covers %v, touches %v", c.s, c.ns, c.s.covers(ns), c.s.touches(ns))
		}
	}
	g := &Grant{Scopes: []Scope{Below(ToPublish, object.Namespace{"ec"}), Below(ToList, object.Namespace{"x"})}}
	if !g.Track(TrackStatus, hd) || !g.Track(Fetch, hd) || g.Track(Subscribe, hd) || !g.Namespace(SubscribeNamespace, object.Namespace{"x", "y"}) || g.Touches(SubscribeNamespace, object.Namespace{"ec"}) {
		t.Error("the words stand for other actions than docs/format/token.md says")
	}
}

// TestKeyFiles: keys are read again when their file changes, and a file that cannot be used has none.
func TestKeyFiles(t *testing.T) {
	p := newPlace(t)
	tok := []byte(jwtOf(t, jwt.SigningMethodES256, p.other, map[string]any{"kid": "other"}, map[string]any{"publish": []string{"ec"}}))
	g, err := p.Verify(TypeJWT, tok, now)
	if err != nil {
		t.Fatal(err)
	}
	change := func(b string) {
		t.Helper()
		if err := os.WriteFile(p.Files[0]+".new", []byte(b), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(p.Files[0]+".new", p.Files[0]); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := p.other.PublicKey.Bytes()
	encode := base64.RawURLEncoding.EncodeToString
	own := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(p.Own)}
	other := map[string]any{"kty": "EC", "crv": "P-256", "x": encode(b[1:33]), "y": encode(b[33:]), "kid": "other", "alg": "ES256", "use": "sig"}
	with := func(k string, v any) map[string]any {
		c := map[string]any{}
		for k, v := range other {
			c[k] = v
		}
		c[k] = v
		return c
	}
	good, _ := os.ReadFile(p.Files[0])
	secret, _ := x509.MarshalPKCS8PrivateKey(p.other)
	for i, c := range []struct {
		name string
		file any
		ok   bool
	}{
		{"JWK", other, true},
		{"a set", map[string]any{"keys": []any{own, other}}, true},
		{"another key", own, false},
		{"another id", with("kid", "x"), false},
		{"for encryption", with("use", "enc"), false},
		{"another algorithm", with("alg", "HS256"), false},
		{"a point that is not on the curve", with("y", encode(b[1:33])), false},
		{"a private key", with("d", encode(b[1:33])), false},
		{"a secret", map[string]any{"kty": "oct", "k": "AAAA", "kid": "other"}, false},
		{"a private key in PEM", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), false},
		{"two keys in PEM", string(good) + string(good), false},
		{"nothing", "", false},
		{"too long", strings.Repeat(" ", maxKeyFile+1), false},
		{"PEM again", string(good), true},
	} {
		text, is := c.file.(string)
		if !is {
			j, _ := json.Marshal(c.file)
			text = string(j)
		}
		change(text)
		now := now.Add(time.Duration(i+1) * time.Millisecond) // for one time files are looked at once
		_, err := p.Verify(TypeJWT, tok, now)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s: %v", c.name, err)
		}
		if cerr := p.Check(g, now); (cerr == nil) != c.ok {
			t.Errorf("%s: a session that came before: %v", c.name, cerr)
		}
	}
	os.Remove(p.Files[0])
	if err := p.Check(g, now.Add(time.Second)); !errors.Is(err, ErrUnknownKey) {
		t.Error("a key that is gone: ", err)
	}
	if CheckFiles(p.Files) == nil {
		t.Error("a file that is not there passes --check")
	}
}

// Another relay takes a relay's tokens by its public key alone, whatever the name of the file.
func TestTokensOfAnotherRelay(t *testing.T) {
	a, b := newPlace(t), newPlace(t)
	b.write(t, a.Own)
	text, _, err := a.Tokens.Make(Terms{Publish: []object.Namespace{{"ec"}}}, a.own, now)
	if err != nil {
		t.Fatal(err)
	}
	g, err := b.Verify(TypeJWT, []byte(text), now)
	if err != nil || g.Key != "other" || b.Check(g, now) != nil {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestMake(t *testing.T) {
	p := newPlace(t)
	for name, terms := range map[string]Terms{
		"nothing":   {},
		"short":     {Publish: []object.Namespace{{"ec"}}, Life: time.Millisecond},
		"negative":  {Publish: []object.Namespace{{"ec"}}, Life: -time.Second},
		"two lines": {Publish: []object.Namespace{{"ec"}}, Note: "a\nb"},
		"many":      {Publish: make([]object.Namespace, MaxPrefixes+1)},
	} {
		if _, _, err := p.Tokens.Make(terms, p.own, now); !errors.As(err, new(*TermsError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, made, err := p.Tokens.Make(Terms{Publish: []object.Namespace{{"ec", "atsc"}}, Read: []object.Namespace{nil}, Life: time.Hour, Subject: "roof", Note: "n"}, p.own, now)
	if err != nil {
		t.Fatal(err)
	}
	value, kind, err := Parse(text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	g, err := p.Verify(kind, value, now)
	if err != nil || g.ID != made.ID || g.Subject != "roof" || g.Key != KeyID(p.Own) || !g.Track(Publish, hd) || !g.Track(Subscribe, object.TrackName{Namespace: object.Namespace{"x"}}) || g.Track(Publish, object.TrackName{Namespace: object.Namespace{"x"}}) {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := p.Verify(kind, value, now.Add(time.Hour)); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(p.dir, TokensFile))
	if err != nil || strings.Contains(string(b), strings.Split(text, ".")[2]) {
		t.Errorf("%s, %v", b, err)
	}
	if st, err := os.Stat(filepath.Join(p.dir, TokensFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
	if list, err := p.Tokens.List(now.Add(2 * time.Hour)); err != nil || len(list) != 0 {
		t.Error("expired ones are listed: ", list, err)
	}
	for _, id := range []string{"", "a\nb", strings.Repeat("x", maxID+1)} {
		if _, err := p.Tokens.Revoke(id, now); !errors.As(err, new(*TermsError)) {
			t.Errorf("%q: %v", id, err)
		}
	}
	// A file that others may read says nothing that is believed: no token is taken then.
	if err := os.Chmod(filepath.Join(p.dir, TokensFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(kind, value, now.Add(time.Second)); err == nil || Refusal(err) {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	p := newPlace(f)
	f.Add([]byte(jwtOf(f, jwt.SigningMethodEdDSA, p.own, nil, map[string]any{"publish": []string{"ec"}})))
	f.Add(catOf(f, cose.AlgorithmES256, p.other, "other", map[any]any{4: 1, claimMOQT: scope}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := p.Verify(TypeOutOfBand, b, now); err == nil && g == nil {
			t.Error("neither a grant nor an error")
		}
	})
}

func FuzzClaims(f *testing.F) {
	b, _ := cbor.Marshal(map[any]any{1: "x", 3: []string{"here"}, 4: 1, 7: []byte("id"), 310: 1, claimMOQT: scope, 328: 5})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := catGrant(b, Key{}, []string{"here"})
		if err == nil {
			for _, s := range g.Scopes {
				_ = s.String()
			}
		} else if !Refusal(err) {
			t.Error(err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	p := newPlace(b)
	tok := []byte(jwtOf(b, jwt.SigningMethodEdDSA, p.own, nil, map[string]any{"publish": []string{"ec"}}))
	for b.Loop() {
		if _, err := p.Verify(TypeJWT, tok, now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheck is what one look at the grants of a thousand sessions costs, where a thousand tokens are known, for each of them.
func BenchmarkCheck(b *testing.B) {
	ts := NewTokens(b.TempDir())
	var grants []*Grant
	for range 1000 {
		_, key, _ := ed25519.GenerateKey(nil)
		_, made, err := ts.Make(Terms{Publish: []object.Namespace{{"ec"}}}, key, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		grants = append(grants, &Grant{ID: made.ID, By: "jwt"})
	}
	a := &Authority{Tokens: ts}
	for i := 0; b.Loop(); i++ {
		at := now.Add(time.Duration(i / len(grants))) // a look at all has one time
		if err := a.Check(grants[i%len(grants)], at); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLooksAtFilesOnce: for one time files are looked at once, and what has changed is seen the next time.
func TestLooksAtFilesOnce(t *testing.T) {
	dir := t.TempDir()
	ts := NewTokens(dir)
	_, key, _ := ed25519.GenerateKey(nil)
	_, made, err := ts.Make(Terms{Publish: []object.Namespace{{"ec"}}}, key, now)
	if err != nil {
		t.Fatal(err)
	}
	revoked := func(at time.Time) bool {
		t.Helper()
		yes, err := ts.revoked(made.ID, at)
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	if revoked(now) {
		t.Error("revoked at first")
	}
	line := fmt.Sprintf("{\"v\":1,\"id\":%q,\"revoked\":\"2026-01-01T00:00:00Z\"}\n", made.ID)
	if err := os.WriteFile(filepath.Join(dir, TokensFile), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if revoked(now) {
		t.Error("the file was looked at again for the same time")
	}
	if !revoked(now.Add(1)) {
		t.Error("not revoked by hand")
	}
	if err := os.Remove(filepath.Join(dir, TokensFile)); err != nil {
		t.Fatal(err)
	}
	if revoked(now.Add(2)) {
		t.Error("revoked by a file that is not there")
	}
	if _, err := ts.Revoke(made.ID, now); err != nil {
		t.Fatal(err)
	}
	if !revoked(now.Add(2)) {
		t.Error("what this process writes counts at once")
	}
}

// TestTokenWithLimits: a token's limits are taken over, and one with a limit that is not known is refused.
func TestTokenWithLimits(t *testing.T) {
	p := newPlace(t)
	verify := func(limits any) (*Grant, error) {
		return p.Verify(TypeJWT, []byte(jwtOf(t, jwt.SigningMethodEdDSA, p.own, nil, map[string]any{"publish": []string{"ec"}, "limits": limits})), now)
	}
	g, err := verify(map[string]any{"sessions": 2, "in": 4000000})
	if err != nil || g.Limits.Map()["sessions"] != 2 || g.Limits.Map()["in"] != 4000000 || len(g.Limits.Map()) != 2 {
		t.Errorf("%v, %v", g, err)
	}
	for _, bad := range []any{map[string]any{"chairs": 2}, map[string]any{"sessions": 0}, map[string]any{"sessions": -1}, map[string]any{"sessions": "2"}, map[string]any{"sessions": 1.5}, []int{1}, "x"} {
		if _, err := verify(bad); !Refusal(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestWholeScopes: who may read one track of a namespace, or the empty namespace alone, may not read all of it.
func TestWholeScopes(t *testing.T) {
	ns := object.Namespace{"ec", "atsc"}
	audio := Match{Exact, "audio"}
	for what, c := range map[string]struct {
		scope             Scope
		whole, everything bool
	}{
		"below":             {Below(ToRead, ns), true, false},
		"everything":        {Below(ToRead, nil), true, true},
		"a track":           {Scope{Actions: ToRead, Namespace: Below(0, ns).Namespace, Track: &audio}, false, false},
		"a track of all":    {Scope{Actions: ToRead, Track: &audio}, false, false},
		"the empty one":     {Scope{Actions: ToRead, End: true}, false, false},
		"another action":    {Below(ToPublish, nil), false, false},
		"something below":   {Below(ToRead, append(ns[:2:2], "1")), false, false},
		"that one and only": {Scope{Actions: ToRead, Namespace: Below(0, ns).Namespace, End: true}, true, false},
	} {
		g := &Grant{Scopes: []Scope{c.scope}}
		if g.Whole(Subscribe, ns) != c.whole || g.Everything(SubscribeNamespace) != c.everything {
			t.Errorf("%s: whole %v, everything %v", what, !c.whole, !c.everything)
		}
	}
}

// TestIDsThatCannotBeRevoked: a token with an id that nobody can name is known by a hash.
func TestIDsThatCannotBeRevoked(t *testing.T) {
	p := newPlace(t)
	for _, id := range []string{"", strings.Repeat("x", maxID+1), "a\nb"} {
		text := jwtOf(t, jwt.SigningMethodEdDSA, p.own, nil, map[string]any{"jti": id, "publish": []string{"ec"}})
		g, err := p.Verify(TypeJWT, []byte(text), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Tokens.Revoke(g.ID, time.Now()); err != nil {
			t.Errorf("%.10q: revoke %.20q: %v", id, g.ID, err)
		}
		if _, err := p.Verify(TypeJWT, []byte(text), time.Now()); !errors.Is(err, ErrRevoked) {
			t.Errorf("%.10q: %v", id, err)
		}
	}
	for _, id := range [][]byte{{}, make([]byte, maxID)} {
		token := catOf(t, cose.AlgorithmES256, p.other, "", map[any]any{claimID: id, claimMOQT: []any{[]any{[]any{int(Publish)}}}})
		g, err := p.Verify(TypeCAT, token, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Tokens.Revoke(g.ID, time.Now()); err != nil {
			t.Errorf("cti of %d bytes: revoke %.20q: %v", len(id), g.ID, err)
		}
		if _, err := p.Verify(TypeCAT, token, time.Now()); !errors.Is(err, ErrRevoked) {
			t.Errorf("cti of %d bytes: %v", len(id), err)
		}
	}
}
