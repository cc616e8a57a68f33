package interop

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay"
	"every.channel/ec/lib/store"
)

// TestRenewalBrowser: the certificate of browsers is replaced three times under a page in Chromium. Its session stays, and each time it
// connects with what it was told before the certificate was in use.
func TestRenewalBrowser(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Now().Add(-12*24*time.Hour - time.Hour).UnixNano()) // so that all of them are valid by Chromium's clock
	addr, certs := startByClock(t, func() time.Time { return time.Unix(0, clock.Load()) })
	begin, err := wire.AppendMessage(nil, wire.Draft18, &wire.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	used := map[[32]byte]bool{certs.Hashes()[0].SHA256: true}
	ctx, over := context.WithCancel(within(t, patience))
	defer over()
	connections := 0
	var mu sync.Mutex
	browse(t, "http://127.0.0.1", "renewal.html", certs, browserConfig{URL: "https://" + addr + "/", Protocols: []string{wire.Draft18.ALPN()}, Begin: deed{Uni: begin}}, map[string]http.HandlerFunc{
		"/connected": func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if connections++; connections == 4 { // after the first and three renewals
				io.WriteString(w, "null")
				over()
				return
			}
			clock.Add(int64(6 * 24 * time.Hour))
			used[certs.Hashes()[0].SHA256] = true
			json.NewEncoder(w).Encode(hashes(certs))
		},
		"/lost": func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if ctx.Err() == nil {
				t.Errorf("the session was lost: %s", b)
			}
		},
	})
	<-ctx.Done()
	mu.Lock()
	defer mu.Unlock()
	if connections != 4 || len(used) != 4 {
		t.Errorf("%d connections, %d certificates", connections, len(used))
	}
}

// startByClock runs a relay whose certificates go by a clock of the test's; relay.Run has none for that.
func startByClock(t *testing.T, now func() time.Time) (addr string, certs *keys.Certificates) {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(dir, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if certs, err = keys.Open(keys.Config{Dir: dir, Now: now}); err != nil {
		t.Fatal(err)
	}
	l, err := moqt.Listen("127.0.0.1:0", certs.TLS(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- relay.New(relay.Config{Store: st, DrainTimeout: 10 * time.Millisecond}).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-over, l.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), certs
}
