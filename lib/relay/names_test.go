package relay

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

var names = flag.Int("names", 50_000, "names that do not exist, in TestNamesThatDoNotExist")

// heap is how much memory is in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what weak pointers pointed to goes with the first one
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Whoever subscribes to names that do not exist below a namespace that is announced, makes the relay ask its publisher, and takes no memory
// that stays.
func TestNamesThatDoNotExist(t *testing.T) {
	r := start(t, t.TempDir(), pipe, Config{Logger: slog.New(slog.DiscardHandler), Limits: bounded(limits.Names, -1)}, store.Config{})
	p := r.dial(t, moqt.UnimplementedHandler{})
	if _, err := p.PublishNamespace(within(t, time.Minute), object.Namespace{"ec"}); err != nil {
		t.Fatal(err)
	}
	v := r.dial(t, nil)
	ask := func(from, to int) {
		var asking sync.WaitGroup
		for w := range 8 {
			asking.Go(func() {
				for i := from + w; i < to; i += 8 {
					n := object.TrackName{Namespace: object.Namespace{"ec", "invented", fmt.Sprint(i)}, Name: "ts_t07"}
					_, err := v.Subscribe(context.Background(), n, moqt.SubscribeOptions{})
					if refused, ok := errors.AsType[*moqt.RequestError](err); !ok || refused.Code != wire.RequestDoesNotExist {
						t.Errorf("%v: %v", n, err)
						return
					}
				}
			})
		}
		asking.Wait()
	}
	most := *names
	if testing.Short() {
		most /= 10
	}
	ask(0, 1000)
	before := heap()
	began := time.Now()
	ask(1000, most)
	at, took := heap(), time.Since(began)
	after := at
	for ; float64(after) > 1.1*float64(before) && time.Since(began) < took+time.Minute; after = heap() {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%d names in %v: %.2f MB before, %.2f then, %.2f after %v", most, took, float64(before)/1e6, float64(at)/1e6, float64(after)/1e6, time.Since(began)-took)
	if float64(after) > 1.1*float64(before) {
		t.Errorf("%d bytes a minute later, %d before", after, before)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tracks) > 0 || len(r.idle) > 1000 {
		t.Errorf("%d tracks and %d that were forgotten", len(r.tracks), len(r.idle))
	}
}
