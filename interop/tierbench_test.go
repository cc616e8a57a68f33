package interop

import (
	"math/rand/v2"
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
