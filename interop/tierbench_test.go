package interop

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// fillWith stores groups of a size, in ten parts as the chunks of a broadcast.
func fillWith(b *testing.B, s *store.Store, groups uint64, size int) {
	b.Helper()
	random := rand.NewChaCha8([32]byte{})
	payload := make([]byte, size/10)
	for g := range groups {
		for id := range uint64(11) {
			o := object.Object{Group: g, ID: id, Status: object.EndOfGroup}
			if id < 10 {
				random.Read(payload)
				o.Status, o.Payload = object.Normal, payload
				o.Properties = object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)
			}
			if _, err := s.Track(broadcast).Put(&o, object.Sum(o.Payload)); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
}

func readAll(b *testing.B, s *store.Store, groups uint64) {
	b.Helper()
	for g := range groups {
		if _, _, err := s.Track(broadcast).Verify(g); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTier moves groups to versitygw on this machine, and reads them from there and, to compare, from the disk:
//
//	EC_VERSITYGW=… go test -run '^$' -bench 'Tier/2MB' -benchtime 1x ./interop
//
// Tier/day has as many groups as a day of chunks of 2 s.
func BenchmarkTier(b *testing.B) {
	for _, c := range []struct {
		name   string
		groups uint64
		size   int
	}{{"2MB", 500, 2_000_000}, {"5MB", 200, 5_000_000}, {"day", 43_200, 70_000}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				benchmarkTier(b, c.groups, c.size)
			}
		})
	}
}

func benchmarkTier(b *testing.B, groups uint64, size int) {
	v := startVersity(b)
	dir := b.TempDir()
	s := tierStore(b, dir, v.bucket(versitySecret, 0))
	fillWith(b, s, groups+1, size)
	since := func(begun time.Time, what string) {
		took := time.Since(begun).Seconds()
		b.ReportMetric(float64(groups)*float64(size)/1e6/took, what+"-MB/s")
		b.ReportMetric(float64(groups)/took, what+"-groups/s")
	}
	begun := time.Now()
	readAll(b, s, groups)
	since(begun, "disk")
	v.requests()
	begun = time.Now()
	if err := s.MoveToTier(b.Context()); err != nil {
		b.Fatal(err)
	}
	since(begun, "move")
	b.ReportMetric(float64(v.requests())/float64(groups), "requests/moved")
	begun = time.Now()
	readAll(b, s, groups)
	since(begun, "tier")
	b.ReportMetric(float64(v.requests())/float64(groups), "requests/read")
	s.Close()
	begun = time.Now()
	s = tierStore(b, dir, v.bucket(versitySecret, 0))
	b.ReportMetric(time.Since(begun).Seconds(), "s-to-open")
	begun = time.Now()
	other := tierStore(b, b.TempDir(), v.bucket(versitySecret, 0))
	if r, err := archive.Relist(b.Context(), other, archive.Order{}, time.Hour); err != nil || r.Taken != int(groups) {
		b.Fatalf("relisting: %+v, %v", r, err)
	}
	b.ReportMetric(time.Since(begun).Seconds(), "s-to-relist")
	begun = time.Now()
	if _, _, err := s.Track(broadcast).Delete(func(store.Info) bool { return true }); err != nil {
		b.Fatal(err)
	}
	if err := s.MoveToTier(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(begun).Seconds(), "s-to-delete")
}

// BenchmarkTierLive stores parts of 100 kB every 20 ms while groups move, to see what that costs what is live.
func BenchmarkTierLive(b *testing.B) {
	for _, c := range []struct {
		name  string
		rate  int64
		moves bool
	}{{"nothing moves", 0, false}, {"8 MiB a second move", 8 << 20, true}, {"no bound", 0, true}} {
		b.Run(c.name, func(b *testing.B) {
			v := startVersity(b)
			for b.Loop() {
				live(b, v.bucket(versitySecret, c.rate), c.moves)
			}
		})
	}
	b.Run("the bucket hangs", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts, and the system does
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		v := &versity{t: b, addr: l.Addr().String()}
		for b.Loop() {
			live(b, v.bucket(versitySecret, 0), true)
		}
	})
}

func live(b *testing.B, bucket store.Tier, moves bool) {
	s := tierStore(b, b.TempDir(), bucket)
	fillWith(b, s, 1000, 1_000_000)
	syscall.Sync() // else the disk is busy with what was filled in
	ctx, stop := context.WithCancel(b.Context())
	var moving sync.WaitGroup
	if moves {
		moving.Go(func() {
			for ctx.Err() == nil {
				s.MoveToTier(ctx)
			}
		})
	}
	other := object.TrackName{Namespace: broadcast.Namespace, Name: "live"}
	payload := make([]byte, 100_000)
	o := object.Object{Payload: payload, Properties: object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)}
	var took []time.Duration
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range uint64(750) {
		<-tick.C
		o.Group, o.ID = i/10, i%10
		begun := time.Now()
		if _, err := s.Track(other).Put(&o, object.Sum(payload)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	stop()
	moving.Wait()
	slices.Sort(took)
	for what, at := range map[string]int{"p50-ms": 375, "p99-ms": 742, "most-ms": 749} {
		b.ReportMetric(float64(took[at].Microseconds())/1000, what)
	}
	b.ReportMetric(float64(inTier(s)), "moved")
}
