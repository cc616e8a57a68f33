package keys

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrPin: the server showed nothing that is pinned.
var ErrPin = errors.New("another fingerprint")

// Pin is the SHA-256 of a public key (SubjectPublicKeyInfo, RFC 7469 §2.4), or of a whole certificate.
type Pin [sha256.Size]byte

// ParsePin reads 64 hex digits. Colons and case do not matter.
func ParsePin(s string) (p Pin, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != len(p) {
		return p, fmt.Errorf("%q: want 64 hex digits", s)
	}
	return Pin(b), nil
}

func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// OfKey is the pin of a certificate's public key.
func OfKey(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// OfCertificate is the pin of one certificate.
func OfCertificate(c *x509.Certificate) Pin { return sha256.Sum256(c.Raw) }

// Verify reports whether the chain that a server showed has one of the pins: that of the server's key, which holds for ever;
// that of its certificate, while this is valid; or that of a key which vouches for the server's. The TLS handshake has shown
// that the server holds the private key of the first certificate, and nothing about the others.
func Verify(chain []*x509.Certificate, now time.Time, pins ...Pin) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	leaf := chain[0]
	if slices.Contains(pins, OfKey(leaf)) {
		return nil
	}
	if slices.Contains(pins, OfCertificate(leaf)) {
		return valid(leaf, now)
	}
	for _, c := range chain[1:] {
		if slices.Contains(pins, OfKey(c)) && vouches(c, chain, now) {
			return nil
		}
	}
	return fmt.Errorf("%w: %v", ErrPin, Offered(chain, now))
}

// Offered is the pin to take for a server that showed a chain: that of the key which vouches for the first certificate, else
// that of the first certificate's own key.
func Offered(chain []*x509.Certificate, now time.Time) Pin {
	for _, c := range chain[1:] {
		if c.PublicKeyAlgorithm == x509.Ed25519 && vouches(c, chain, now) {
			return OfKey(c)
		}
	}
	return OfKey(chain[0])
}

// vouches reports whether the key of a certificate signed one in the chain that is valid and holds the first one's key.
func vouches(by *x509.Certificate, chain []*x509.Certificate, now time.Time) bool {
	return slices.ContainsFunc(chain, func(c *x509.Certificate) bool {
		return OfKey(c) == OfKey(chain[0]) && valid(c, now) == nil && by.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
	})
}

func valid(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("certificate valid from %v to %v", c.NotBefore, c.NotAfter)
	}
	return nil
}
