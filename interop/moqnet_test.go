package interop

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay"
)

// TestBrowserMoqNet: @moq/net subscribes to a live track; every frame of the groups it hands out has the right hash.
func TestBrowserMoqNet(t *testing.T) {
	if _, err := os.Stat("testdata/browser/node_modules/@moq/net"); errors.Is(err, os.ErrNotExist) {
		t.Skip("@moq/net is missing: npm ci --ignore-scripts --prefix interop/testdata/browser")
	}
	// What it offers when nobody says, and each draft that both sides have. Over WebSocket it offers all, and the relay takes one.
	spoken := []moqt.Version{wire.Draft20, wire.Draft18, wire.Draft16}
	offers := [][]string{nil}
	for _, v := range spoken {
		offers = append(offers, []string{v.ALPN()})
	}
	for _, offer := range offers {
		t.Run(strings.Join(append([]string{"offers"}, offer...), " "), func(t *testing.T) { testBrowserMoqNet(t, "https", offer, nil) })
	}
	each(t, spoken, []string{"ws", "wss"}, func(t *testing.T, v moqt.Version, scheme string) {
		testBrowserMoqNet(t, scheme, []string{v.ALPN()}, []moqt.Version{v})
	})
}

func testBrowserMoqNet(t *testing.T, scheme string, offer []string, versions []moqt.Version) {
	type group struct {
		Group  uint64
		Frames []string
	}
	s := start(t, scheme, relay.ServerConfig{Versions: versions})
	p := s.publish(t, broadcast)
	p.group(t, 0) // so that the track exists
	s.stored(t, broadcast, 1)
	connected, groups := make(chan string, 1), make(chan group, 100)
	conf := browserConfig{URL: s.url("https"), Protocols: offer, Namespace: broadcast.Namespace, Track: broadcast.Name}
	browse(t, "http://127.0.0.1", "moqnet.html", s.certificates(t), conf, map[string]http.HandlerFunc{
		"/connected": func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			connected <- string(b)
		},
		"/group": func(_ http.ResponseWriter, r *http.Request) {
			var g group
			if err := json.NewDecoder(r.Body).Decode(&g); err != nil {
				t.Error(err)
			}
			groups <- g
		},
	})
	ctx := within(t, patience)
	version := await(t, ctx, connected)
	if want := "moq-transport-" + strings.TrimPrefix(slices.Concat(offer, []string{wire.Draft20.ALPN()})[0], "moqt-"); version != want {
		t.Errorf("@moq/net speaks %s, want %s", version, want)
	}
	next := time.NewTicker(100 * time.Millisecond)
	defer next.Stop()
	got := 0
	for id := uint64(1); got < 5; {
		select {
		case <-next.C: // the library joins at what is published from now on
			p.group(t, id)
			id++
		case g := <-groups:
			var want []string
			for i := range uint64(parts) {
				want = append(want, fmt.Sprintf("%x", sha256.Sum256(part(g.Group, i).Payload)))
			}
			if !slices.Equal(g.Frames, want) {
				t.Fatalf("group %d: %v, want %v", g.Group, g.Frames, want)
			}
			got++
		case <-ctx.Done():
			t.Fatalf("%d groups came", got)
		}
	}
}
