package cmdutil

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/keys"
)

// TLSFlags are the flags of clients that decide which relay to trust; [TLSConfig] reads them.
func TLSFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "fingerprint", Usage: "trust the relay whose key, or certificate, has this `SHA256`, as ec-relay logs it at its start"},
		&cli.StringFlag{Name: "cacert", Usage: "trust relays with a certificate signed by one in `FILE` (PEM)"},
		&cli.BoolFlag{Name: "insecure", Usage: "trust any relay"},
	}
}

// TLSConfig is what the flags say. A certificate that is not trusted is an error that names its fingerprint.
func TLSConfig(c *cli.Context) (*tls.Config, error) {
	var pins []keys.Pin
	for _, s := range c.StringSlice("fingerprint") {
		if s == "" {
			continue // an empty variable in the environment
		}
		pin, err := keys.ParsePin(strings.TrimSpace(s))
		if err != nil {
			return nil, UsageError(fmt.Errorf("--fingerprint %w", err))
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
			return nil, Exit(exit.Config, fmt.Errorf("%s: no certificate in it", name))
		}
	}
	var own []tls.Certificate
	if name := c.String("client-key"); name != "" {
		cert, err := keys.Client(name)
		if err != nil {
			return nil, Exit(exit.Config, fmt.Errorf("--client-key: %w", err))
		}
		own = append(own, *cert)
	}
	insecure := c.Bool("insecure")
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: own,
		// Not without verification: VerifyConnection below does it, and can say which fingerprint to pin.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if insecure {
				return nil
			}
			if len(cs.PeerCertificates) == 0 {
				return errors.New("relay has no certificate")
			}
			leaf, now := cs.PeerCertificates[0], time.Now()
			offered := keys.Offered(cs.PeerCertificates, now)
			if len(pins) > 0 {
				err := keys.Verify(cs.PeerCertificates, now, pins...)
				if err == nil {
					return nil
				}
				if roots == nil {
					return &untrusted{err, offered}
				}
			}
			intermediates := x509.NewCertPool()
			for _, cert := range cs.PeerCertificates[1:] {
				intermediates.AddCert(cert)
			}
			_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: cs.ServerName, Intermediates: intermediates})
			if err != nil {
				return &untrusted{err, offered}
			}
			return nil
		},
	}, nil
}

// untrusted is a relay that was refused.
type untrusted struct {
	err     error
	offered keys.Pin
}

func (u *untrusted) Error() string { return "relay is not trusted: " + u.err.Error() }
func (u *untrusted) Unwrap() error { return u.err }
func (u *untrusted) ExitCode() int { return exit.NotAllowed }
func (u *untrusted) Hint() string {
	return "if ec-relay prints the same fingerprint, add --fingerprint " + u.offered.String()
}

// DraftFlag forces a draft of MoQ Transport.
func DraftFlag() cli.Flag {
	return &cli.StringFlag{Name: "draft", Usage: "speak draft `16|18|20|22` of MoQ Transport and no other (default: the newest that both sides speak)"}
}

// RepairFlag says whether what a path over UDP loses is made good; [NoRepair] reads it.
func RepairFlag() cli.Flag {
	return &cli.StringFlag{Name: "repair", Value: "auto", Usage: "make good what a path over UDP loses, where the other side can do so, too: `auto|off`"}
}

// NoRepair is what the flag says.
func NoRepair(c *cli.Context) (bool, error) {
	switch v := c.String("repair"); v {
	case "auto", "off":
		return v == "off", nil
	default:
		return false, UsageError(fmt.Errorf("--repair %q: want auto or off", v))
	}
}

// TokenFlags are the flags of clients that show a token.
func TokenFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "token", Usage: "show `TOKEN`, or the one in the first line of @FILE, which ec-relay token make prints"},
		&cli.StringFlag{Name: "client-key", Usage: "prove over moqt:// to have the private key in `FILE` (PEM), whose pin the relay may have listed"},
		&cli.StringFlag{Name: "token-type", Usage: "send the token with the type `N` (default: 1 for a Common Access Token, a number of our own for a JSON Web Token)"},
	}
}
