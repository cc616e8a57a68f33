package cmdutil

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// TLSFlags are the flags of clients that decide which relay to trust; [TLSConfig] reads them.
func TLSFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "fingerprint", Usage: "trust the relay whose certificate has this `SHA256`, as ec-relay prints it"},
		&cli.StringFlag{Name: "cacert", Usage: "trust relays with a certificate signed by one in `FILE` (PEM)"},
		&cli.BoolFlag{Name: "insecure", Usage: "trust any relay"},
	}
}

// TLSConfig is what the flags say. A certificate that is not trusted is an error that names its fingerprint.
func TLSConfig(c *cli.Context) (*tls.Config, error) {
	var pins [][]byte
	for _, s := range c.StringSlice("fingerprint") {
		if s == "" {
			continue // an empty variable in the environment
		}
		pin, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(s), ":", ""))
		if err != nil || len(pin) != sha256.Size {
			return nil, UsageError(fmt.Errorf("--fingerprint %q: not 64 hex digits", s))
		}
		pins = append(pins, pin)
	}
	var roots *x509.CertPool
	if name := c.String("cacert"); name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, Exit(Config, fmt.Errorf("%s: no certificate in it", name))
		}
	}
	insecure := c.Bool("insecure")
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Not without verification: VerifyConnection below does it, and can say which fingerprint to pin.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if insecure {
				return nil
			}
			if len(cs.PeerCertificates) == 0 {
				return errors.New("relay has no certificate")
			}
			leaf := cs.PeerCertificates[0]
			sum := sha256.Sum256(leaf.Raw)
			for _, pin := range pins {
				if bytes.Equal(pin, sum[:]) {
					return nil
				}
			}
			if len(pins) > 0 && roots == nil {
				return &untrusted{errors.New("certificate has another fingerprint than --fingerprint"), sum}
			}
			intermediates := x509.NewCertPool()
			for _, cert := range cs.PeerCertificates[1:] {
				intermediates.AddCert(cert)
			}
			_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: cs.ServerName, Intermediates: intermediates})
			if err != nil {
				return &untrusted{err, sum}
			}
			return nil
		},
	}, nil
}

// untrusted is a certificate that was refused.
type untrusted struct {
	err error
	sum [sha256.Size]byte
}

func (u *untrusted) Error() string { return "relay is not trusted: " + u.err.Error() }
func (u *untrusted) Unwrap() error { return u.err }
func (u *untrusted) ExitCode() int { return NotAllowed }
func (u *untrusted) Hint() string {
	return "if ec-relay prints the same fingerprint, add --fingerprint " + hex.EncodeToString(u.sum[:])
}

// DraftFlag forces a draft of MoQ Transport.
func DraftFlag() cli.Flag {
	return &cli.StringFlag{Name: "draft", Usage: "speak draft `16|18` of MoQ Transport and no other (default: the newest that both sides speak)"}
}
