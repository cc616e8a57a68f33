package moqt

import (
	"crypto/tls"
	"time"

	"every.channel/ec/lib/moqt/transport"
)

// SelfSigned makes an ECDSA P-256 certificate for hosts (names or addresses), valid for 13 days from now on.
func SelfSigned(now time.Time, hosts ...string) (tls.Certificate, error) {
	return transport.SelfSigned(now, hosts...)
}

// Fingerprint is the SHA-256 of a certificate in lower-case hex.
func Fingerprint(cert tls.Certificate) string { return transport.Fingerprint(cert) }

// PinFingerprint makes a client configuration that accepts exactly the server with a fingerprint, of its key or of its certificate.
func PinFingerprint(fingerprint string) (*tls.Config, error) {
	return transport.PinFingerprint(fingerprint)
}

// ServerTLS is a server configuration with one certificate.
func ServerTLS(cert tls.Certificate) *tls.Config { return transport.ServerTLS(cert) }
