package store

import (
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"every.channel/ec/lib/object"
)

// held lets the first write wait until it is let go.
type held struct{ begun, letGo chan struct{} }

func hold(s *Store) held {
	h := held{make(chan struct{}), make(chan struct{})}
	var once atomic.Bool
	s.c.fail = func(n int) (int, error) {
		if !once.Swap(true) {
			close(h.begun)
			<-h.letGo
		}
		return n, nil
	}
	return h
}

// TestDroppedWhileFinished: the file of a whole group is removed while the group is written in order, and the group begins anew. What comes
// then is not taken for what was.
func TestDroppedWhileFinished(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	for _, id := range []uint64{1, 0, 2, 3, 4, 5} {
		put(t, tr, part(1, id), Stored)
	}
	h, flushed := hold(s), make(chan error)
	go func() { flushed <- s.Flush() }()
	<-h.begun
	if err := os.Remove(tr.groups[1].path(extPart)); err != nil {
		t.Fatal(err)
	}
	tr.Open(1, 0) // the file is not there
	put(t, tr, part(1, 0), Stored)
	put(t, tr, part(1, 1), Stored)
	close(h.letGo)
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	wantGroup(t, tr, 1, []uint64{0, 1}, false)
	if got := files(t, dir); !slices.Equal(got, []string{"ec-atsc-2065-3/ts_t07/0/1.eco.part"}) {
		t.Errorf("files: %v", got)
	}
	for id := uint64(2); id <= parts; id++ {
		put(t, tr, part(1, id), Stored)
	}
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
	wantGroup(t, tr, 1, allIDs, true)
}

// TestDroppedWhileCompressed: a group whose file is damaged is set aside while that file is compressed. The group that begins anew is not
// replaced by the damaged one, not at the next start either.
func TestDroppedWhileCompressed(t *testing.T) {
	c := &clock{t: time.Now()}
	dir := t.TempDir()
	s := open(t, dir, Config{now: c.now})
	putGroup(t, s.Track(ts), 1)
	path := s.Track(ts).groups[1].path(extWhole)
	s.Close()
	s = open(t, dir, Config{now: c.now, CompressAfter: time.Minute})
	tr := s.Track(ts)
	c.add(time.Hour)
	away := path + "-away"
	if err := os.Rename(path, away); err != nil { // a pipe in its place says when it is opened, and holds the reader
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	maintained := make(chan error)
	go func() { maintained <- s.Maintain() }()
	pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(away)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(away, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, path); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(parts + 1) {
		if _, err := tr.Put(part(1, id), object.Sum(part(1, id).Payload)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pipe.Write(b); err != nil {
		t.Fatal(err)
	}
	pipe.Close()
	if err := <-maintained; err != nil {
		t.Error(err)
	}
	if zst, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.zst*")); len(zst) > 0 {
		t.Errorf("made: %v", zst)
	}
	s.Close()
	s = open(t, dir, Config{})
	wantGroup(t, s.Track(ts), 1, allIDs, true)
}
