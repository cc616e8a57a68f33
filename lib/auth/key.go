package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Key is a public key that is trusted to sign tokens. The key, and nothing that a token says, decides on the algorithm.
type Key struct {
	// ID is what a token calls the key (kid).
	ID string
	// Public is an ed25519.PublicKey, or an *ecdsa.PublicKey over P-256.
	Public crypto.PublicKey
}

// Bounds of keys.
const (
	maxKeyFile = 64 << 10 // bytes
	maxKeys    = 64       // of all files together
	maxKeyID   = 256      // bytes
)

// goes reports whether a token may call the key so: by its id, or by that which a relay has for its own key.
func (k Key) goes(id string) bool {
	if id == "" || k.ID == id {
		return true
	}
	own, is := k.Public.(ed25519.PublicKey)
	return is && KeyID(own) == id
}

// equal reports whether both are the same key with the same id.
func (k Key) equal(o Key) bool {
	p, is := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return is && k.ID == o.ID && p.Equal(o.Public)
}

// KeyID is the id of a relay's own key: the first 16 hex digits of its pin (docs/format/keys.md).
func KeyID(public ed25519.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil { // not of such a key
		panic(err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

// ReadKeys reads a file with public keys: one in PEM, or one or several as JSON Web Keys (RFC 7517). The id of one that has none is the
// name of the file without its ending.
func ReadKeys(path string) ([]Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxKeyFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes", maxKeyFile)}
	}
	list, err := parseKeys(b, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

var errPrivate = errors.New("a private key: only its public half belongs here")

func parseKeys(b []byte, name string) ([]Key, error) {
	block, rest := pem.Decode(b)
	if block == nil {
		return parseJWKs(b, name)
	}
	switch {
	case strings.Contains(block.Type, "PRIVATE"):
		return nil, errPrivate
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("%s in PEM: want PUBLIC KEY", block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("more than one key in PEM: each has a file of its own")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if _, err := algorithm(public); err != nil {
		return nil, err
	}
	return []Key{{name, public}}, nil
}

// jwk has the parameters of RFC 7517 and RFC 7518 §6.2, RFC 8037 §2 that are looked at.
type jwk struct {
	Type   string   `json:"kty"`
	Curve  string   `json:"crv"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	D      string   `json:"d"`
	Secret string   `json:"k"`
	ID     string   `json:"kid"`
	Alg    string   `json:"alg"`
	Use    string   `json:"use"`
	Ops    []string `json:"key_ops"`
}

func parseJWKs(b []byte, name string) ([]Key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, errors.New("neither a key in PEM nor a JSON Web Key")
	}
	if set.Keys == nil {
		set.Keys = make([]jwk, 1)
		if err := json.Unmarshal(b, &set.Keys[0]); err != nil {
			return nil, fmt.Errorf("JSON Web Key: %w", err)
		}
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, at most %d are taken", len(set.Keys), maxKeys)
	}
	var list []Key
	for i, j := range set.Keys {
		public, err := j.public()
		if err != nil {
			return nil, fmt.Errorf("JSON Web Key %d: %w", i+1, err)
		}
		if j.ID == "" {
			j.ID = name
		}
		list = append(list, Key{j.ID, public})
	}
	return list, nil
}

func (j jwk) public() (crypto.PublicKey, error) {
	switch {
	case j.D != "":
		return nil, errPrivate
	case j.Type == "oct" || j.Secret != "":
		return nil, errors.New("a secret that both sides have: whoever can check tokens with it could make them")
	case j.Use != "" && j.Use != "sig":
		return nil, fmt.Errorf("use %q: not for signatures", j.Use)
	case len(j.ID) > maxKeyID:
		return nil, errors.New("the id is too long")
	}
	x, err := base64.RawURLEncoding.Strict().DecodeString(j.X)
	if err != nil {
		return nil, fmt.Errorf("x: %w", err)
	}
	switch j.Type + " " + j.Curve {
	case "OKP Ed25519":
		if len(x) != ed25519.PublicKeySize || j.Alg != "" && j.Alg != "EdDSA" && j.Alg != "Ed25519" {
			return nil, errors.New("not a key of Ed25519")
		}
		return ed25519.PublicKey(x), nil
	case "EC P-256":
		y, err := base64.RawURLEncoding.Strict().DecodeString(j.Y)
		if err != nil {
			return nil, fmt.Errorf("y: %w", err)
		}
		if len(x) != 32 || len(y) != 32 || j.Alg != "" && j.Alg != "ES256" {
			return nil, errors.New("not a key for ES256")
		}
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	}
	return nil, fmt.Errorf("kty %q, crv %q: want OKP with Ed25519, or EC with P-256", j.Type, j.Curve)
}

// algorithm is the one in which a key signs, by its name in JSON Web Tokens.
func algorithm(public crypto.PublicKey) (string, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return "EdDSA", nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return "ES256", nil
		}
	}
	return "", errors.New("neither a key of Ed25519 nor one of ECDSA over P-256")
}
