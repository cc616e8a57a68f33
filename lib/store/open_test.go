package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"every.channel/ec/lib/object"
)

// tracksOfBench is how many tracks the groups of a benchmark are dealt out to.
const tracksOfBench = 20

// makeMany fills a folder with whole groups of one small object, as a store does, but without its syncs.
func makeMany(b *testing.B, dir string, groups int) {
	b.Helper()
	var err error
	for n := range tracksOfBench {
		name := object.TrackName{Namespace: object.Namespace{"ec", "atsc", strconv.Itoa(2000 + n/4), "3"}, Name: fmt.Sprintf("ts_t%02d", n%4)}
		last := ""
		for id := range uint64(groups / tracksOfBench) {
			id = (890_000_000 + id) << 16 // as names have them
			g := &group{t: &Track{s: &Store{dir: filepath.Join(dir, groupsDir)}, name: name}, id: id}
			if g.dir() != last {
				last = g.dir()
				err = errors.Join(err, os.MkdirAll(last, 0o755))
			}
			var file bytes.Buffer
			w := object.NewWriter(&file)
			err = errors.Join(err, w.WriteObject(name, &object.Object{Group: id, Payload: []byte("payload")}),
				w.WriteObject(name, &object.Object{Group: id, ID: 1, Status: object.EndOfGroup}), os.WriteFile(g.path(extWhole), file.Bytes(), 0o644))
		}
	}
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, lockFile), []byte(format), 0o600)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen opens a store with many groups, and says how much memory a group takes. EC_BENCH_GROUPS is how many there are, and EC_BENCH_STORE
// a folder for them that stays.
func BenchmarkOpen(b *testing.B) {
	groups, err := strconv.Atoi(os.Getenv("EC_BENCH_GROUPS"))
	if err != nil {
		groups = 20_000
	}
	dir := os.Getenv("EC_BENCH_STORE")
	if dir == "" {
		dir = b.TempDir()
	}
	if _, err := os.Stat(filepath.Join(dir, lockFile)); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		makeMany(b, dir, groups)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		s, err := Open(dir, Config{})
		if err != nil {
			b.Fatal(err)
		}
		if n := s.Stats().Groups; n != groups {
			b.Fatal(n, "groups")
		}
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(groups), "B/group")
		s.Close()
		b.StartTimer()
	}
}
