package live

import "testing"

// A track has its share of the cache, and 8 MiB as long as all together have less than 1 GiB, or four times the cache.
func TestPerTrack(t *testing.T) {
	for _, c := range []struct{ cache, tracks, want int64 }{
		{256 << 20, 0, 256 << 20}, {256 << 20, 2, 128 << 20}, {256 << 20, 100, 8 << 20}, {256 << 20, 1024, 1 << 20}, {0, 10, 8 << 20}, {0, 1 << 10, 1 << 20}, {1 << 30, 1024, 4 << 20},
	} {
		m := New(Config{CacheBytes: c.cache})
		m.tracks.Store(c.tracks)
		if got := m.perTrack(); got != c.want {
			t.Errorf("%d of %d: %d, want %d", c.tracks, c.cache, got, c.want)
		}
	}
}
