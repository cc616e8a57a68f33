package pub

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/object"
)

// A disk that hangs in the middle of a broadcast holds up no relay, and no FETCH of what is in memory. Once it goes on, so does the spool.
func TestHungDiskHoldsUpNothing(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	want := groups(10, 6)
	hang := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(hang) })
	defer goOn()
	n := 0
	log := &lines{}
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{
			Relays: []string{a.URL(), b.URL()}, TLS: &tls.Config{InsecureSkipVerify: true}, Spool: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil)),
			beforeWrite: func() {
				if n++; n > 5 {
					<-hang
				}
			},
		}, r)
		result <- err
	}()
	out := object.NewWriter(w)
	began := time.Now()
	for i := range want {
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
		for _, relay := range []*relaytest.Relay{a, b} {
			relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i+1 })
		}
	}
	if took := time.Since(began); took > time.Duration(len(want))*(writePatience+100*time.Millisecond) {
		t.Errorf("%v for %d objects", took, len(want))
	}
	goOn()
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if log.has("not_kept") {
		t.Errorf("not everything was kept, although the queue has room: %s", log)
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }
func (l *lines) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }
func (l *lines) has(s string) bool           { return bytes.Contains([]byte(l.String()), []byte(s)) }

// On a disk that keeps up, an object is on disk before the relay has it.
func TestOnDiskBeforeItIsSent(t *testing.T) {
	relay := relaytest.New(t)
	dir := t.TempDir()
	var arrived int64
	relay.Lose = func(_ object.TrackName, o *object.Object) bool {
		arrived += int64(len(o.Payload))
		if is := bytesIn(dir); is < arrived {
			t.Errorf("the relay has %d bytes, the disk %d", arrived, is)
		}
		return false
	}
	want := groups(10, 4)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		c := Config{
			Relays: []string{relay.URL()}, TLS: relay.TLS(), Spool: dir, writePatience: time.Minute,
			beforeWrite: func() { time.Sleep(20 * time.Millisecond) },
		}
		_, err := Run(testContext(t), c, r)
		result <- err
	}()
	out := object.NewWriter(w)
	for i := range want {
		if err := out.WriteObject(name, &want[i]); err != nil {
			t.Fatal(err)
		}
		relay.Await(name, func(tr *relaytest.Track) bool { return tr.Len() == i+1 })
	}
	w.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// bytesIn adds up the files in a folder.
func bytesIn(dir string) (n int64) {
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if st, err := os.Stat(path); err == nil {
				n += st.Size()
			}
		}
		return nil
	})
	return n
}

// What finds the queue full is counted and not kept, if the input cannot wait; a file waits, but not for a disk that hangs.
func TestFullQueue(t *testing.T) {
	hang := make(chan struct{})
	log := &lines{}
	d, err := openDisk(Config{Spool: t.TempDir(), Memory: 4 << 20, Log: slog.New(slog.NewTextHandler(log, nil)), beforeWrite: func() { <-hang }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	s := newSpool(1, time.Minute, 100<<20, false, discard)
	s.disk = d
	now := time.Unix(1e9, 0)
	part := groups(10, 1)[0]
	part.Payload = bytes.Repeat(part.Payload, 100)
	size := int64(len(part.Payload))
	add := func() {
		t.Helper()
		if err := s.add(context.Background(), &object.Track{Name: name}, &part, now); err != nil {
			t.Fatal(err)
		}
		part.ID++
	}
	live := false
	s.faster = &live
	most := int(d.most / size)
	began := time.Now()
	for range most + 3 {
		add()
	}
	if took := time.Since(began); took > roomPatience/2 {
		t.Errorf("live input waited for the disk for %v", took)
	}
	if d.lost == 0 || d.lost > 4 || !log.has("spool pauses, publishing goes on without it") {
		t.Errorf("%d objects lost; log %s", d.lost, log)
	}
	live = true // faster than its own clock
	for range 3 {
		add()
	}
	if took := time.Since(began); took < roomPatience || took > 2*roomPatience {
		t.Errorf("a file waited for a disk that hangs for %v", took)
	}
	lost := d.lost
	close(hang)
	<-d.freed
	for range 3 * most {
		add()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost > lost {
		t.Errorf("a file lost %d objects to a disk that is slower", d.lost-lost)
	}
}

// A group that is larger than the memory leaves it as soon as it is whole, and is on disk by then.
func TestGroupLargerThanMemoryIsLeftToTheDisk(t *testing.T) {
	d, err := openDisk(Config{Spool: t.TempDir(), Memory: 10_000, Log: discard, beforeWrite: func() { time.Sleep(10 * time.Millisecond) }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	s := newSpool(1, time.Minute, 10_000, false, discard)
	s.disk, s.faster = d, new(bool)
	for _, o := range groups(10, 3) {
		if err := s.add(context.Background(), &object.Track{Name: name}, &o, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Dropped > 0 || len(s.left) != 3 {
		t.Errorf("%d groups dropped, %d left to the disk", s.Dropped, len(s.left))
	}
}
