package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/object"

	"golang.org/x/sys/unix"
)

// limitFiles lets the process have n files open until the test ends.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	now := was
	now.Cur = n
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &was) })
}

// openFiles counts the files that the process has open in a folder.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

// TestManyGroupsWaitForSync: with 1,024 descriptors 40,000 small objects are stored, in groups that all wait for their sync.
func TestManyGroupsWaitForSync(t *testing.T) {
	limitFiles(t, 1024)
	dir := memoryDir(t)
	s := open(t, dir, Config{})
	tr := s.Track(ts)
	before := openFiles(t)
	const groups = 20_000
	for g := range uint64(groups) {
		put(t, tr, &object.Object{Group: g, Payload: []byte("small")}, Stored)
		put(t, tr, &object.Object{Group: g, ID: 1, Status: object.EndOfGroup}, Stored)
	}
	if n := openFiles(t) - before; n > 256 {
		t.Errorf("%d files are open", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := openFiles(t) - before; n > 0 {
		t.Errorf("%d files are open after Close", n)
	}
	s = open(t, dir, Config{})
	sum, _ := s.Track(ts).Summary()
	if sum.Groups != groups || sum.Whole != groups {
		t.Errorf("%+v", sum)
	}
}

// TestManyOpenTracks: with 256 descriptors 400 tracks are written at the same time, each in turn, and read by as many readers, each in turn.
func TestManyOpenTracks(t *testing.T) {
	limitFiles(t, 256)
	s := open(t, memoryDir(t), Config{})
	const tracks = 400
	var wg sync.WaitGroup
	for n := range tracks {
		wg.Go(func() {
			tr := s.Track(object.TrackName{Namespace: object.Namespace{"many"}, Name: fmt.Sprint(n)})
			for g := range uint64(8) {
				for id := range uint64(parts) {
					if r, err := tr.Put(part(g, id), object.Sum(part(g, id).Payload)); r != Stored || err != nil {
						t.Errorf("track %d, %d/%d: %v, %v", n, g, id, r, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	var readers []*Reader
	for n := range tracks {
		r, err := s.Track(object.TrackName{Namespace: object.Namespace{"many"}, Name: fmt.Sprint(n)}).Open(1, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers = append(readers, r)
	}
	for id := range uint64(parts) {
		for n, r := range readers {
			if o, err := r.Next(); err != nil || o.ID != id {
				t.Fatalf("track %d: %v", n, err)
			}
		}
	}
	for _, tr := range s.all() { // what was closed meanwhile and opened again is as if it had stayed open
		put(t, tr, part(0, parts), Stored)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(s.all()[0].groups[0].current())
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range s.all() {
		wantGroup(t, tr, 0, allIDs, true)
		got, err := os.ReadFile(tr.groups[0].current())
		if d := len(tr.name.Name) - len(s.all()[0].name.Name); err != nil || len(got) != len(want)+d {
			t.Fatalf("%v: %d bytes, want %d, %v", tr.name, len(got), len(want)+d, err)
		}
	}
}

// TestReadersOutliveTheirPlace: readers whose files were closed to make room go on, whatever became of the names of the files; only a file that was
// removed meanwhile is an error.
func TestReadersOutliveTheirPlace(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxOpen: 4})
	tr := s.Track(ts)
	var readers []*Reader
	for g := range uint64(20) {
		putGroup(t, tr, g)
		r, err := tr.Open(g, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers = append(readers, r)
	}
	if err := s.Flush(); err != nil { // the files have other names now
		t.Fatal(err)
	}
	if err := os.Remove(tr.groups[3].current()); err != nil {
		t.Fatal(err)
	}
	for g, r := range readers {
		n := 0
		var err error
		for ; err == nil; n++ {
			_, err = r.Next()
		}
		if gone := g == 3; gone != errors.Is(err, os.ErrNotExist) || !gone && (err != io.EOF || n != parts+2) {
			t.Errorf("group %d: %d objects, %v", g, n-1, err)
		}
	}
}

// TestNothingStaysOpen: a store that is closed has no file open, of the first start, where it makes its folder, either.
func TestNothingStaysOpen(t *testing.T) {
	percent := debug.SetGCPercent(-1) // the collector would close what was forgotten
	defer debug.SetGCPercent(percent)
	open(t, t.TempDir(), Config{}).Close() // the runtime's own descriptors
	before, dir := openFiles(t), t.TempDir()
	for range 2 {
		s := open(t, dir, Config{})
		putGroup(t, s.Track(ts), 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		dir = t.TempDir()
	}
	if n := openFiles(t); n != before {
		t.Errorf("%d files are open, %d were", n, before)
	}
}

// takeFiles opens files until the process may open no more, and returns how to close them.
func takeFiles(t *testing.T) (free func()) {
	t.Helper()
	var taken []int
	for {
		fd, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	if len(taken) == 0 {
		t.Fatal("no file could be opened")
	}
	free = sync.OnceFunc(func() {
		for _, fd := range taken {
			syscall.Close(fd)
		}
	})
	t.Cleanup(free)
	return free
}

// TestNoDescriptors: while others have all descriptors, the store does with the places that it has, waits a while for more, and nothing is over
// afterwards.
func TestNoDescriptors(t *testing.T) {
	limitFiles(t, 128)
	s := open(t, t.TempDir(), Config{})
	tr := s.Track(ts)
	for g := range uint64(8) {
		put(t, tr, part(g, 0), Stored)
	}
	free := takeFiles(t)
	for g := range uint64(20) { // new files, in the places of those that are open
		put(t, tr, part(100+g, 0), Stored)
	}
	put(t, tr, part(0, 1), Stored)
	wantGroup(t, tr, 0, []uint64{0, 1}, false)

	s.pool.shed()
	takeFiles(t) // and now there is none left
	if _, err := tr.Put(part(200, 0), object.Sum(part(200, 0).Payload)); !noFiles(err) {
		t.Errorf("stored without a descriptor: %v", err)
	}
	if _, err := tr.Open(1, 0); !noFiles(err) {
		t.Errorf("read without a descriptor: %v", err)
	}
	if n := s.Stats().LeftOut; n != 0 {
		t.Errorf("%d parts are taken for unreadable", n)
	}
	if s.trouble.Load() != nil {
		t.Error("copies pause for want of descriptors")
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		free()
	}()
	putGroup(t, tr, 201)
	putGroup(t, tr, 202)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	wantGroup(t, tr, 201, allIDs, true)
	wantGroup(t, tr, 0, []uint64{0, 1}, false)
}

// TestFlushWithoutDescriptors: a whole group stays under its partial name while nothing can be opened, and a folder that could not be synced is
// synced later.
func TestFlushWithoutDescriptors(t *testing.T) {
	limitFiles(t, 128)
	s := open(t, t.TempDir(), Config{})
	tr := s.Track(ts)
	putGroup(t, tr, 1)
	s.pool.shed()
	free := takeFiles(t)
	if err := s.Flush(); !noFiles(err) {
		t.Errorf("flushed without a descriptor: %v", err)
	}
	free()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tr.groups[1].path(extWhole)); err != nil {
		t.Error(err)
	}
	if len(s.unsynced) != 0 {
		t.Errorf("folders not synced: %v", s.unsynced)
	}
}
