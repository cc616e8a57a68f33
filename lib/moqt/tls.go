package moqt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// CertificateValidity of self-signed certificates: browsers accept a certificate by its hash only if it is ECDSA and
// valid for at most 14 days.
const CertificateValidity = 13 * 24 * time.Hour

// renewBefore is when LoadCertificate replaces a certificate.
const renewBefore = 3 * 24 * time.Hour

// ErrFingerprint: the server's certificate is not the one pinned.
var ErrFingerprint = errors.New("certificate has another fingerprint")

// SelfSigned makes an ECDSA P-256 certificate for hosts (names or addresses), valid from now on for CertificateValidity.
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
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(CertificateValidity),
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

// LoadCertificate returns the self-signed certificate kept in a PEM file, making a new one if there is none or it is
// about to expire. The file is readable by its owner only.
func LoadCertificate(path string, now time.Time, hosts ...string) (tls.Certificate, error) {
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		cert, err := tls.X509KeyPair(b, b)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("%s: %w", path, err)
		}
		if now.After(cert.Leaf.NotBefore) && now.Before(cert.Leaf.NotAfter.Add(-renewBefore)) {
			return cert, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return tls.Certificate{}, err
	}
	cert, err := SelfSigned(now, hosts...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return cert, storeCertificate(path, cert)
}

func storeCertificate(path string, cert tls.Certificate) error {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	f, err := os.CreateTemp(filepath.Dir(path), ".cert-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Fingerprint is the SHA-256 of a certificate in lower-case hex, as serverCertificateHashes of browsers and
// `openssl x509 -fingerprint -sha256` (without colons) have it.
func Fingerprint(cert tls.Certificate) string {
	h := sha256.Sum256(cert.Certificate[0])
	return hex.EncodeToString(h[:])
}

// PinFingerprint makes a client configuration that accepts exactly the certificate with a fingerprint, whatever its name
// and issuer, as long as it has not expired. Colons and case do not matter.
func PinFingerprint(fingerprint string) (*tls.Config, error) {
	want, err := hex.DecodeString(strings.ReplaceAll(fingerprint, ":", ""))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("fingerprint %q: want 64 hex digits", fingerprint)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // replaced by VerifyConnection
		VerifyConnection: func(st tls.ConnectionState) error {
			leaf := st.PeerCertificates[0]
			if got := sha256.Sum256(leaf.Raw); string(got[:]) != string(want) {
				return fmt.Errorf("%w: %x", ErrFingerprint, got)
			}
			if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
				return fmt.Errorf("certificate valid from %v to %v", leaf.NotBefore, leaf.NotAfter)
			}
			return nil
		},
	}, nil
}

// ServerTLS is a server configuration with one certificate.
func ServerTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
}
