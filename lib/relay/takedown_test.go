package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// coldTier is a bucket in memory.
type coldBucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	about   map[string]store.Tiered
	gets    int
}

func (b *coldBucket) String() string { return "bucket" }

func (b *coldBucket) Stat(_ context.Context, key string) (store.Tiered, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.about[key]
	if !ok {
		return d, fs.ErrNotExist
	}
	return d, nil
}

func (b *coldBucket) Put(_ context.Context, key string, body []byte, d store.Tiered, replace bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.objects[key]; ok && !replace {
		return fs.ErrExist
	}
	if b.objects == nil {
		b.objects, b.about = make(map[string][]byte), make(map[string]store.Tiered)
	}
	b.objects[key], b.about[key] = bytes.Clone(body), d
	return nil
}

func (b *coldBucket) Get(_ context.Context, key string, _ int64) ([]byte, store.Tiered, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gets++
	body, ok := b.objects[key]
	if !ok {
		return nil, store.Tiered{}, fs.ErrNotExist
	}
	return bytes.Clone(body), b.about[key], nil
}

func (b *coldBucket) Remove(_ context.Context, keys []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		delete(b.objects, k)
		delete(b.about, k)
	}
	return nil
}

func (b *coldBucket) List(_ context.Context, after string, most int) (list []store.TieredKey, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(b.objects)) {
		if k > after && len(list) < most {
			list = append(list, store.TieredKey{Key: k, Tiered: b.about[k]})
		}
	}
	return list, nil
}

func (b *coldBucket) count() (objects, gets int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.objects), b.gets
}

// heavy is an object that goes to the cold tier with its group.
func heavy(group uint64) *object.Object {
	payload := bytes.Repeat([]byte{byte(group), 1, 2, 3}, 20_000)
	return &object.Object{Group: group, Payload: payload, Properties: object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)}
}

// spool is a publisher that has everything it ever sent, and sends what it is asked to.
type spool struct {
	moqt.UnimplementedHandler
	fetches atomic.Int64
	asked   chan *moqt.Publication
}

func (s *spool) Fetch(_ context.Context, r *moqt.FetchRequest) {
	if strings.HasSuffix(r.Track.String(), ts.String()) { // objects, and lists of them
		s.fetches.Add(1)
	}
	r.Reject(wire.RequestDoesNotExist, "")
}

func (s *spool) Subscribe(_ context.Context, r *moqt.SubscribeRequest) {
	if pub, err := r.Accept(moqt.TrackInfo{}); err == nil {
		s.asked <- pub
	}
}

// send sends one group of one object.
func send(ctx context.Context, pub *moqt.Publication, group uint64) error {
	w, err := pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: group, HasProperties: true})
	if err != nil {
		return err
	}
	o := heavy(group)
	if err := w.WriteObject(0, o.Properties, 0, o.Payload); err != nil {
		return err
	}
	if err := w.WriteObject(1, nil, moqt.ObjectStatus(object.EndOfGroup), nil); err != nil {
		return err
	}
	return w.Close()
}

// lastOf notes when something came last.
type lastOf struct{ at atomic.Int64 }

func (l *lastOf) note() { l.at.Store(time.Now().UnixNano()) }

func (l *lastOf) since(t0 time.Time) time.Duration {
	if at := l.at.Load(); at > t0.UnixNano() {
		return time.Unix(0, at).Sub(t0)
	}
	return 0
}

// TestTakedown: a live channel is taken down while viewers watch it over MoQ and by HTTP. Nobody has a byte of it after that, nor is it fetched from
// anybody; it is written down who did it; and lifted, it is there again.
func TestTakedown(t *testing.T) {
	bucket := &coldBucket{}
	up, s := withHTTP(t, func(c *ServerConfig) {
		c.HTTP = []string{"127.0.0.1:0"}
		c.Store = store.Config{Tier: bucket, TierAfter: time.Nanosecond, Interval: 20 * time.Millisecond}
	})
	d := door{dir: s.dir}
	ctx := within(t, 2*time.Minute)

	// The channel: a publisher that has a spool, and one of another channel in the same session.
	home := &spool{asked: make(chan *moqt.Publication, 1)}
	c := s.dial(t, home)
	other := object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "4"}, Name: ts.Name}
	for _, ns := range []object.Namespace{ts.Namespace, other.Namespace} {
		_, err := c.PublishNamespace(ctx, ns)
		fatal(t, err)
	}
	pub, err := c.Publish(ctx, ts, moqt.PublishOptions{})
	fatal(t, err)
	neighbour, err := c.Publish(ctx, other, moqt.PublishOptions{})
	fatal(t, err)
	cat, err := c.Publish(ctx, object.TrackName{Namespace: ts.Namespace, Name: "catalog"}, moqt.PublishOptions{})
	fatal(t, err)
	w, err := cat.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: 1})
	fatal(t, err)
	fatal(t, errors.Join(w.WriteObject(0, nil, 0, []byte(`{"version":"draft-01","tracks":[{"name":"`+ts.Name+`","packaging":"m2ts","isLive":true}]}`)), w.Close()))
	var turnedAway lastOf
	var group atomic.Uint64
	over := make(chan struct{})
	publish := func(pub *moqt.Publication) {
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-pub.Context().Done():
				turnedAway.note()
				return
			case <-tick.C:
				send(ctx, pub, group.Add(1)) // fails when the relay does not want it any more, which ends pub, too
			}
		}
	}
	var sending sync.WaitGroup
	sending.Go(func() { publish(pub) })
	defer func() { close(over); sending.Wait() }()
	fatal(t, send(ctx, neighbour, 1))

	// Its viewers.
	var seen, seenHTTP lastOf
	var watching sync.WaitGroup
	ends := make(chan error, 20)
	for range cap(ends) {
		viewer := s.dial(t, nil)
		var sub *moqt.Subscription
		wait(t, "the channel", func() bool { sub, err = viewer.Subscribe(ctx, ts, moqt.SubscribeOptions{}); return err == nil })
		watching.Go(func() {
			var reading sync.WaitGroup
			defer reading.Wait()
			for {
				r, err := sub.AcceptSubgroup(ctx)
				if err != nil {
					ends <- err
					return
				}
				reading.Go(func() {
					for b := make([]byte, 4096); ; {
						if _, err := r.Next(); err != nil {
							return
						}
						for {
							n, err := r.Read(b)
							if n > 0 {
								seen.note()
							}
							if err != nil {
								break
							}
						}
					}
				})
			}
		})
	}
	live := up.HTTP[0] + ts.Namespace.String() + "/live.ts"
	get := func(url string) *http.Response {
		req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
		res, err := http.DefaultClient.Do(req)
		fatal(t, err)
		return res
	}
	var res *http.Response
	wait(t, "the channel by HTTP", func() bool {
		if res = get(live); res.StatusCode != 200 {
			res.Body.Close()
		}
		return res.StatusCode == 200
	})
	httpOver := make(chan time.Time, 1)
	watching.Go(func() {
		defer res.Body.Close()
		for b := make([]byte, 4096); ; {
			n, err := res.Body.Read(b)
			if n > 0 {
				seenHTTP.note()
			}
			if err != nil {
				httpOver <- time.Now()
				return
			}
		}
	})
	wait(t, "viewers and the cold tier", func() bool {
		n, _ := bucket.count()
		return n >= 5 && seen.at.Load() > 0 && seenHTTP.at.Load() > 0
	})

	// Taken down.
	t0 := time.Now()
	made, err := ask[TakedownRecord](t, d, TakedownAdd, TakedownOrder{Terms: archive.Terms{Names: []string{ts.Namespace.String()}, Note: "order 12"}})
	fatal(t, err)
	answered := time.Since(t0)
	fetches := home.fetches.Load()
	for range cap(ends) {
		err := <-ends
		if done, is := errors.AsType[*moqt.DoneError](err); !is || done.Code != wire.DoneUnauthorized {
			t.Errorf("a viewer's subscription ended with %v", err)
		}
	}
	viewersOver := time.Since(t0)
	page := (<-httpOver).Sub(t0)
	watching.Wait()
	_, gets := bucket.count() // viewers may have been about to read when the order came
	wait(t, "the publisher to be told", func() bool { return turnedAway.at.Load() > 0 })
	closed := get(live)
	closed.Body.Close()
	if closed.StatusCode != http.StatusUnavailableForLegalReasons {
		t.Errorf("live.ts: %d", closed.StatusCode)
	}
	reader := s.dial(t, nil)
	refused := func(what string, err error, code wire.RequestCode) {
		t.Helper()
		if r, is := errors.AsType[*moqt.RequestError](err); !is || r.Code != code || !strings.Contains(r.Reason, "taken down") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = reader.Subscribe(ctx, ts, moqt.SubscribeOptions{})
	refused("SUBSCRIBE", err, wire.RequestUnauthorized)
	_, err = reader.Fetch(ctx, ts, moqt.Location{Group: 1}, moqt.Location{Group: 100}, moqt.FetchOptions{})
	refused("FETCH", err, wire.RequestUnauthorized)
	_, err = reader.TrackStatus(ctx, ts)
	refused("TRACK_STATUS", err, wire.RequestUnauthorized)
	_, err = c.Publish(ctx, ts, moqt.PublishOptions{})
	refused("PUBLISH", err, wire.RequestUninterested)
	if list := s.listed(t, "ec"); slices.Contains(list, ts.Namespace.String()) || !slices.Contains(list, other.Namespace.String()) {
		t.Errorf("lists name %v", list)
	}
	fatal(t, send(ctx, neighbour, 2)) // others go on
	stored, err := ask[Stored](t, d, StoreList, nil)
	fatal(t, err)
	if slices.ContainsFunc(stored.Tracks, func(t StoredTrack) bool { return strings.HasPrefix(t.Track, made.Names[0]) }) {
		t.Errorf("the store's list has it: %+v", stored.Tracks)
	}
	time.Sleep(1500 * time.Millisecond) // longer than the relay waits before it looks for what it lacks
	if n := home.fetches.Load() - fetches; n > 0 {
		t.Errorf("%d FETCHes at the spool since", n)
	}
	inTier, after := bucket.count()
	if after != gets {
		t.Errorf("%d groups read from the cold tier since", after-gets)
	}
	t.Logf("takedown of a live channel, 20 viewers over MoQ and one by HTTP, %d groups held (%d in the cold tier):", made.Groups, inTier)
	t.Logf("  answer to the operator after %v; last byte at a viewer %v after the order, all subscriptions ended after %v", answered, seen.since(t0), viewersOver)
	t.Logf("  live.ts: last byte after %v, answer broken off after %v; publisher told after %v", seenHTTP.since(t0), page, turnedAway.since(t0))
	t.Logf("  store, lists, spool: not asked since the answer, cold tier since the last viewer left; checked 1.5 s")
	for what, d := range map[string]time.Duration{"a viewer": seen.since(t0), "live.ts": seenHTTP.since(t0), "the answer": answered, "all": viewersOver} {
		if d > 10*time.Second {
			t.Errorf("%s: %v", what, d)
		}
	}
	line := auditLine(t, s.dir, made.ID)
	t.Logf("  audit: %s", line)
	if !strings.Contains(line, `"what":"takedown"`) || !strings.Contains(line, `"who":"uid `) || !strings.Contains(line, "order 12") {
		t.Errorf("audit: %s", line)
	}

	// Lifted: publisher and viewers are back, and what was stored before.
	t1 := time.Now()
	lifted, err := ask[TakedownRecord](t, d, TakedownLift, LiftOrder{ID: made.ID})
	fatal(t, err)
	if lifted.Groups != made.Groups {
		t.Errorf("%d groups came back, %d were held", lifted.Groups, made.Groups)
	}
	again := <-home.asked
	sending.Go(func() { publish(again) })
	wait(t, "the channel again", func() bool { _, err = reader.Subscribe(ctx, ts, moqt.SubscribeOptions{}); return err == nil })
	t.Logf("  lifted: publisher asked again, viewers served after %v", time.Since(t1))
	f, err := reader.Fetch(ctx, ts, moqt.Location{Group: 1}, moqt.Location{Group: 3}, moqt.FetchOptions{})
	fatal(t, err)
	got := 0
	for {
		o, err := f.Next()
		if err == io.EOF {
			break
		}
		fatal(t, err)
		if o.Kind == moqt.FetchedObject {
			b, err := io.ReadAll(io.LimitReader(f, int64(o.Size)))
			fatal(t, err)
			if !bytes.Equal(b, heavy(o.Group).Payload) {
				t.Errorf("group %d is another one", o.Group)
			}
			got++
		}
	}
	if got != 3 {
		t.Errorf("%d groups of what was in the cold tier", got)
	}
	if line := auditLine(t, s.dir, `"lift"`); !strings.Contains(line, made.ID) {
		t.Errorf("audit: %s", line)
	}

	// For good: what is stored is removed, in the bucket, too.
	purged, err := ask[TakedownRecord](t, d, TakedownAdd, TakedownOrder{Terms: archive.Terms{Names: []string{ts.Namespace.String()}}, Purge: true})
	fatal(t, err)
	if purged.Purged < made.Groups {
		t.Errorf("%d groups removed", purged.Purged)
	}
	wait(t, "the bucket to be emptied of it", func() bool {
		bucket.mu.Lock()
		defer bucket.mu.Unlock()
		return !slices.ContainsFunc(slices.Collect(maps.Keys(bucket.objects)), func(k string) bool { return strings.Contains(k, ts.Namespace.String()+"/") })
	})
	wait(t, "the folder to be emptied of it", func() bool {
		files, _ := filepath.Glob(filepath.Join(s.dir, "groups", ts.Namespace.String(), "*", "*", "*.eco*"))
		return len(files) == 0
	})
}

// auditLine returns the last line of the audit log that has a text.
func auditLine(t *testing.T, dir, text string) (line string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, auth.AuditFile))
	fatal(t, err)
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, text) {
			line = strings.TrimSpace(l)
		}
	}
	return line
}

// listed returns the namespaces below a prefix, as a stranger is told of them.
func (s *server) listed(t *testing.T, prefix string) (list []string) {
	t.Helper()
	ns, err := object.ParseNamespace(prefix)
	fatal(t, err)
	sub, err := s.dial(t, nil).SubscribeNamespace(within(t, time.Minute), ns, moqt.SubscribeNamespaceOptions{})
	fatal(t, err)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		e, err := sub.Next(ctx)
		cancel()
		if err != nil {
			return list
		}
		if !e.Done {
			list = append(list, e.Namespace.String())
		}
	}
}
