package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"time"

	"every.channel/ec/lib/keys"
)

// ErrFingerprint: the server is not the one pinned.
var ErrFingerprint = keys.ErrPin

// SelfSigned makes an ECDSA P-256 certificate for hosts (names or addresses), valid for 13 days from now on.
// A relay has better ones (package keys).
func SelfSigned(now time.Time, hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "every.channel"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(13 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Fingerprint is the SHA-256 of a certificate in lower-case hex, as serverCertificateHashes of browsers and
// `openssl x509 -fingerprint -sha256` (without colons) have it.
func Fingerprint(cert tls.Certificate) string {
	h := sha256.Sum256(cert.Certificate[0])
	return hex.EncodeToString(h[:])
}

// PinFingerprint makes a client configuration that accepts exactly the server with a fingerprint, of its key or of its certificate
// (keys.Verify), whatever the certificate's name and issuer. Colons and case do not matter.
func PinFingerprint(fingerprint string) (*tls.Config, error) {
	pin, err := keys.ParsePin(fingerprint)
	if err != nil {
		return nil, fmt.Errorf("fingerprint %w", err)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // replaced by VerifyConnection
		VerifyConnection: func(st tls.ConnectionState) error {
			return keys.Verify(st.PeerCertificates, time.Now(), pin)
		},
	}, nil
}

// ServerTLS is a server configuration with one certificate.
func ServerTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
}
