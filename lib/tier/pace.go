package tier

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// paceStep is the most that is sent at once.
const paceStep = 64 << 10

// paced sends the bodies of requests no faster than the rate, all of them together.
type paced struct {
	rate int64 // bytes a second; 0: no bound
	next http.RoundTripper

	mu   sync.Mutex
	free time.Time // when the rate allows to send more
}

func (p *paced) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.rate > 0 && r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = &pacedBody{p: p, ctx: r.Context(), ReadCloser: r.Body}
		r.GetBody = nil
	}
	return p.next.RoundTrip(r)
}

// wait waits until so many bytes may be sent. After a time without any, a tenth of a second's may be sent at once.
func (p *paced) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-100 * time.Millisecond); p.free.Before(earliest) {
		p.free = earliest
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	wait := p.free.Sub(now)
	p.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// pacedBody is the body of one request; its context is the request's.
type pacedBody struct {
	io.ReadCloser
	p   *paced
	ctx context.Context
}

func (b *pacedBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf[:min(len(buf), paceStep)])
	if n > 0 {
		if werr := b.p.wait(b.ctx, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}
