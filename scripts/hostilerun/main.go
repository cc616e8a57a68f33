// Command hostilerun is both sides of scripts/hostile: three honest homes and many viewers, of whom it prints how late and how complete what
// they read is; or, with --attack, one peer that asks a relay for all it can get.
//
// A client dials the address that it wants to come from: all addresses are the relay's own, in a network namespace of the script's.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

var (
	port     = flag.Int("port", 4443, "`PORT` of the relay")
	tokens   = flag.String("token", "", "`FILE` with the token to publish with")
	viewers  = flag.Int("viewers", 50, "`N` viewers")
	duration = flag.Duration("duration", time.Minute, "`TIME` to run")
	name     = flag.String("phase", "", "`NAME` in what is printed")
	attack   = flag.Bool("attack", false, "be the hostile peer")
	from     = flag.String("from", "198.18.66.6", "`ADDRESS` of the hostile peer")
	tcpPort  = flag.Int("tcp-port", 4444, "`PORT` at which the relay takes TCP")
	httpPort = flag.Int("http-port", 8080, "`PORT` of its HTTP server")
)

const (
	homes    = 3
	size     = 10 << 10 // bytes of an object
	interval = 40 * time.Millisecond
	perGroup = 50
)

func main() {
	flag.Parse()
	run := honest
	if *attack {
		run = hostile
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hostilerun:", err)
		os.Exit(1)
	}
}

func dial(ctx context.Context, at string, shown []moqt.Token) (*moqt.Session, error) {
	s, err := moqt.Dial(ctx, fmt.Sprintf("moqt://%s:%d", at, *port), &tls.Config{InsecureSkipVerify: true}, &moqt.Config{Tokens: shown})
	if err == nil {
		go s.Run(ctx)
	}
	return s, err
}

func token() ([]moqt.Token, error) {
	b, err := os.ReadFile(*tokens)
	if err != nil {
		return nil, err
	}
	value, kind, err := auth.Parse(string(b))
	return []moqt.Token{{AliasType: wire.TokenUseValue, Type: kind, Value: value}}, err
}

func trackOf(home int) object.TrackName {
	return object.TrackName{Namespace: object.Namespace{"ec", "honest", fmt.Sprint(home)}, Name: "media"}
}

// seen is what viewers got.
type seen struct {
	objects, broken atomic.Int64
	mu              sync.Mutex
	delays          []time.Duration
}

// honest publishes and views.
func honest() error {
	shown, err := token()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *duration+time.Minute)
	defer cancel()
	var s seen
	var publishing, viewing sync.WaitGroup
	sent := make([][]atomic.Int64, homes)
	ready := make(chan error, homes+*viewers)
	start := make(chan struct{})
	first := uint64(time.Now().Unix())
	n := int(*duration / interval)
	for h := range homes {
		sent[h] = make([]atomic.Int64, n)
		publishing.Go(func() {
			ms, err := dial(ctx, fmt.Sprintf("198.18.%d.1", 1+h), shown)
			var pub *moqt.Publication
			if err == nil {
				pub, err = ms.Publish(ctx, trackOf(h), moqt.PublishOptions{})
			}
			ready <- err
			if err != nil {
				return
			}
			defer ms.Close(wire.NoError, "")
			<-start
			if err := publish(ctx, pub, first, sent[h]); err != nil {
				fmt.Fprintln(os.Stderr, "hostilerun: home:", err)
			}
			time.Sleep(3 * time.Second)
		})
	}
	for range homes {
		if err := <-ready; err != nil {
			return fmt.Errorf("home: %w", err)
		}
	}
	vctx, leave := context.WithCancel(ctx)
	defer leave()
	for v := range *viewers {
		h := v % homes
		viewing.Go(func() {
			ms, err := dial(ctx, fmt.Sprintf("198.18.10.%d", 1+v), nil)
			var sub *moqt.Subscription
			if err == nil {
				sub, err = ms.Subscribe(ctx, trackOf(h), moqt.SubscribeOptions{})
			}
			ready <- err
			if err == nil {
				s.view(vctx, sub, first, sent[h])
				ms.Close(wire.NoError, "")
			}
		})
	}
	away := 0
	for range *viewers {
		if err := <-ready; err != nil {
			fmt.Fprintln(os.Stderr, "hostilerun: viewer:", err)
			away++
		}
	}
	close(start)
	publishing.Wait()
	leave()
	viewing.Wait()
	want := int64(0)
	for v := range *viewers {
		for i := range sent[v%homes] {
			if sent[v%homes][i].Load() != 0 {
				want++
			}
		}
	}
	slices.Sort(s.delays)
	at := func(q float64) float64 {
		if len(s.delays) == 0 {
			return 0
		}
		return float64(s.delays[int(q*float64(len(s.delays)-1))].Microseconds()) / 1000
	}
	planned := int64(n) * int64(*viewers)
	fmt.Printf("phase=%s viewers=%d kept_out=%d sent_of_planned=%.5f lost=%.5f broken=%d p50_ms=%.1f p99_ms=%.1f max_ms=%.1f\n",
		*name, *viewers, away, float64(want)/float64(planned), 1-float64(s.objects.Load())/float64(want), s.broken.Load(), at(.5), at(.99), at(1))
	return nil
}

func publish(ctx context.Context, pub *moqt.Publication, first uint64, sent []atomic.Int64) error {
	payload := make([]byte, size)
	properties := object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var w *moqt.SubgroupWriter
	for i := range sent {
		<-tick.C
		id := uint64(i % perGroup)
		var err error
		if id == 0 {
			if w, err = pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: first + uint64(i/perGroup), EndOfGroup: true, HasProperties: true}); err != nil {
				return err
			}
		}
		sent[i].Store(time.Now().UnixNano())
		if err = w.WriteObject(id, properties, wire.StatusNormal, payload); err == nil && (id == perGroup-1 || i == len(sent)-1) {
			err = w.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *seen) view(ctx context.Context, sub *moqt.Subscription, first uint64, sent []atomic.Int64) {
	var reading sync.WaitGroup
	defer reading.Wait()
	for {
		r, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			return
		}
		reading.Go(func() {
			var delays []time.Duration
			for {
				h, err := r.Next()
				if err == nil {
					_, err = io.Copy(io.Discard, r)
				}
				if err != nil {
					if err != io.EOF {
						s.broken.Add(1)
					}
					break
				}
				if i := int(r.Header().Group-first)*perGroup + int(h.ID); h.Status == wire.StatusNormal && i >= 0 && i < len(sent) {
					delays = append(delays, time.Duration(time.Now().UnixNano()-sent[i].Load()))
					s.objects.Add(1)
				}
			}
			s.mu.Lock()
			s.delays = append(s.delays, delays...)
			s.mu.Unlock()
		})
	}
}

// attacker counts what it got and what it was refused.
type attacker struct {
	mu      sync.Mutex
	got     map[string]int
	refused map[string]int
	why     map[string]string
}

func (a *attacker) note(what string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.got[what]++
		return
	}
	a.refused[what]++
	a.why[what] = err.Error()
}

// hostile asks for everything at once, again and again.
func hostile() error {
	a := &attacker{got: map[string]int{}, refused: map[string]int{}, why: map[string]string{}}
	ctx, cancel := context.WithTimeout(context.Background(), *duration)
	defer cancel()
	shown, err := token()
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	// again runs f in n goroutines, over and over.
	again := func(n int, pause time.Duration, f func(i int)) {
		for g := range n {
			all.Go(func() {
				for i := g; ctx.Err() == nil; i += n {
					f(i)
					select {
					case <-ctx.Done():
					case <-time.After(pause):
					}
				}
			})
		}
	}
	session := func(shown []moqt.Token) *moqt.Session {
		for ctx.Err() == nil {
			dctx, done := context.WithTimeout(ctx, 5*time.Second)
			s, err := dial(ctx, *from, shown)
			if err == nil {
				_, err = s.Peer(dctx)
			}
			done()
			if err == nil {
				return s
			}
			a.note("session for more", err)
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	}
	silent := func(what string, p int) func(int) {
		return func(int) {
			c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", *from, p), time.Second)
			a.note(what, err)
			if err == nil {
				stop := context.AfterFunc(ctx, func() { c.Close() })
				all.Go(func() { // until the relay closes it
					io.Copy(io.Discard, c)
					stop()
					c.Close()
				})
			}
		}
	}
	// Sessions that carry attacks begin first; sessions that only take a place come later.
	for range 4 {
		all.Go(func() {
			if s := session(nil); s != nil {
				var asking sync.WaitGroup
				for w := range 16 {
					asking.Go(func() {
						for i := w; ctx.Err() == nil && s.Context().Err() == nil; i += 16 {
							_, err := s.Subscribe(ctx, object.TrackName{Namespace: object.Namespace{"ec", "honest", fmt.Sprintf("%p-%d", s, i)}, Name: "none"}, moqt.SubscribeOptions{})
							a.note("names", err)
						}
					})
				}
				asking.Wait()
			}
		})
		all.Go(func() { // reads the past as fast as it comes
			if s := session(nil); s != nil {
				for i := 0; ctx.Err() == nil && s.Context().Err() == nil; i++ {
					r, err := s.Fetch(ctx, trackOf(i%homes), moqt.Location{}, moqt.Location{Group: 1 << 40}, moqt.FetchOptions{})
					a.note("fetches", err)
					for err == nil {
						if _, err = r.Next(); err == nil {
							_, err = io.Copy(io.Discard, r)
						}
					}
				}
			}
		})
		all.Go(func() { // publishes as fast as it may, many streams at a time
			for ctx.Err() == nil {
				if s := session(shown); s != nil {
					flood(ctx, a, s)
				}
			}
		})
	}
	for range 8 {
		all.Go(func() { // subscribes to all and reads nothing, and asks for lists and namespaces
			if s := session(shown); s != nil {
				for i := 0; ctx.Err() == nil && s.Context().Err() == nil; i++ {
					rctx, done := context.WithTimeout(ctx, 5*time.Second)
					_, err := s.Subscribe(rctx, trackOf(i%homes), moqt.SubscribeOptions{})
					a.note("subscriptions", err)
					_, err = s.SubscribeNamespace(rctx, object.Namespace{"ec"}, moqt.SubscribeNamespaceOptions{})
					a.note("lists", err)
					_, err = s.PublishNamespace(rctx, object.Namespace{"ec", "hostile", fmt.Sprintf("%p-%d", s, i)})
					a.note("namespaces", err)
					done()
				}
			}
		})
	}
	time.Sleep(time.Second)
	again(16, 0, func(int) { // begins sessions and leaves them idle
		s, err := dial(ctx, *from, nil)
		if err == nil {
			wait, done := context.WithTimeout(ctx, 5*time.Second)
			_, err = s.Peer(wait)
			done()
		}
		a.note("idle sessions", err)
	})
	again(8, time.Millisecond, silent("silent over TCP", *tcpPort))
	again(8, time.Millisecond, silent("silent over HTTP", *httpPort))
	<-ctx.Done()
	all.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	var kinds []string
	for what := range a.got {
		kinds = append(kinds, what)
	}
	for what := range a.refused {
		if !slices.Contains(kinds, what) {
			kinds = append(kinds, what)
		}
	}
	slices.Sort(kinds)
	for _, what := range kinds {
		why := a.why[what]
		if i := strings.IndexByte(why, '\n'); i >= 0 {
			why = why[:i]
		}
		fmt.Printf("hostile: %-18s got %8d refused %8d  %.90s\n", what, a.got[what], a.refused[what], why)
	}
	return nil
}

// flood publishes tracks, each with streams that are never closed and large objects.
func flood(ctx context.Context, a *attacker, s *moqt.Session) {
	payload := make([]byte, 1<<20)
	var sending sync.WaitGroup
	defer sending.Wait()
	for i := 0; ctx.Err() == nil && s.Context().Err() == nil; i++ {
		rctx, done := context.WithTimeout(ctx, 5*time.Second)
		pub, err := s.Publish(rctx, object.TrackName{Namespace: object.Namespace{"ec", "hostile"}, Name: fmt.Sprintf("%p-%d", s, i)}, moqt.PublishOptions{})
		done()
		a.note("tracks", err)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if i >= 32 { // then tracks alone
			continue
		}
		if i == 0 { // a group without an end
			sending.Go(func() {
				w, err := pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: 1})
				for id := uint64(0); err == nil && ctx.Err() == nil; id++ {
					err = w.WriteObject(id, nil, wire.StatusNormal, payload)
					a.note("one group, 1 MiB", err)
				}
			})
			continue
		}
		sending.Go(func() {
			for g := uint64(1); ctx.Err() == nil && s.Context().Err() == nil; g++ {
				octx, done := context.WithTimeout(ctx, 5*time.Second)
				w, err := pub.OpenSubgroup(octx, moqt.SubgroupHeader{Group: g})
				done()
				if err == nil {
					w.SetWriteDeadline(time.Now().Add(10 * time.Second))
					err = w.WriteObject(0, nil, wire.StatusNormal, payload)
				}
				a.note("objects of 1 MiB", err)
			}
		})
	}
}
