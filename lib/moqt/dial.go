package moqt

import (
	"context"
	"crypto/tls"
	"strings"
)

// Dial connects over the transport that the URL's scheme names: moqt:// is raw QUIC, https:// is WebTransport.
func Dial(ctx context.Context, rawURL string, tlsConf *tls.Config, conf *Config) (*Session, error) {
	if scheme, _, _ := strings.Cut(rawURL, ":"); strings.EqualFold(scheme, "https") {
		return DialWebTransport(ctx, rawURL, tlsConf, conf)
	}
	return DialQUIC(ctx, rawURL, tlsConf, conf)
}
