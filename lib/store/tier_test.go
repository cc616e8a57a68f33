package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// bucket is a tier in memory that fails on request.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	about   map[string]Tiered
	counts  map[string]int                    // requests by their kind
	fail    func(request, key string) error   // nil: nothing fails
	hold    func(request, key string)         // is called before a request is carried out
	change  func(key string, b []byte) []byte // what a Get answers
}

func newBucket() *bucket {
	return &bucket{objects: make(map[string][]byte), about: make(map[string]Tiered), counts: make(map[string]int)}
}

func (b *bucket) String() string { return "bucket" }

func (b *bucket) ask(ctx context.Context, request, key string) error {
	b.mu.Lock()
	b.counts[request]++
	hold, fail := b.hold, b.fail
	b.mu.Unlock()
	if hold != nil {
		hold(request, key)
	}
	if fail != nil {
		if err := fail(request, key); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *bucket) count(request string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[request]
}

func (b *bucket) failing(f func(request, key string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = f
}

func (b *bucket) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

func (b *bucket) Stat(ctx context.Context, key string) (Tiered, error) {
	if err := b.ask(ctx, "stat", key); err != nil {
		return Tiered{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.about[key]
	if !ok {
		return d, fs.ErrNotExist
	}
	return d, nil
}

func (b *bucket) Put(ctx context.Context, key string, body []byte, d Tiered, replace bool) error {
	if err := b.ask(ctx, "put", key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.objects[key]; ok && !replace {
		return fs.ErrExist
	}
	b.objects[key], b.about[key] = bytes.Clone(body), d
	return nil
}

func (b *bucket) Get(ctx context.Context, key string, most int64) ([]byte, Tiered, error) {
	if err := b.ask(ctx, "get", key); err != nil {
		return nil, Tiered{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.objects[key]
	if !ok {
		return nil, Tiered{}, fs.ErrNotExist
	}
	body = bytes.Clone(body)
	if b.change != nil {
		body = b.change(key, body)
	}
	if int64(len(body)) > most {
		return nil, Tiered{}, errors.New("too long")
	}
	return body, b.about[key], nil
}

func (b *bucket) Remove(ctx context.Context, keys []string) error {
	if err := b.ask(ctx, "remove", keys[0]); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		delete(b.objects, k)
		delete(b.about, k)
	}
	return nil
}

func (b *bucket) List(ctx context.Context, after string, most int) (list []TieredKey, err error) {
	if err := b.ask(ctx, "list", after); err != nil {
		return nil, err
	}
	for _, k := range b.keys() {
		if k > after && len(list) < most {
			list = append(list, TieredKey{k, Tiered{Bytes: int64(len(b.objects[k])), Written: time.Now()}})
		}
	}
	return list, nil
}

// tierConfig moves whole groups to a bucket after an hour, however small they are.
func tierConfig(b *bucket, c *clock) Config {
	return Config{Tier: b, TierAfter: time.Hour, leastTiered: 1, now: c.now}
}

func move(t testing.TB, s *Store) {
	t.Helper()
	if err := s.MoveToTier(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// tieredStore has groups 0 to n-1 in the tier, and group n on the disk.
func tieredStore(t testing.TB, dir string, b *bucket, n uint64) (*Store, *Track, *clock) {
	t.Helper()
	c := &clock{t: time.Now()}
	s := open(t, dir, tierConfig(b, c))
	tr := s.Track(ts)
	for g := range n + 1 {
		putGroup(t, tr, g)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	move(t, s)
	if got := s.Stats().TierGroups; got != int(n) {
		t.Fatalf("%d groups in the tier, want %d", got, n)
	}
	return s, tr, c
}

func pathOf(dir string, group uint64, ext string) string {
	return filepath.Join(dir, groupsDir, "ec-atsc-2065-3", "ts_t07", shard(group), fmt.Sprint(group)+ext)
}

func TestTier(t *testing.T) {
	b, dir, c := newBucket(), t.TempDir(), &clock{t: time.Now()}
	s := open(t, dir, tierConfig(b, c))
	tr := s.Track(ts)
	for g := range uint64(3) {
		putGroup(t, tr, g)
	}
	put(t, tr, part(3, 0), Stored) // not whole
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	before := s.Stats()
	move(t, s)
	if b.count("put") != 0 {
		t.Fatal("groups moved that are not old enough")
	}
	c.add(2 * time.Hour)
	putGroup(t, tr, 4)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	local := s.Stats().Bytes
	move(t, s)
	want := []string{"ec-atsc-2065-3/ts_t07/0/0.eco", "ec-atsc-2065-3/ts_t07/0/1.eco", "ec-atsc-2065-3/ts_t07/0/2.eco"}
	if got := b.keys(); !slices.Equal(got, want) {
		t.Fatalf("in the bucket are %q", got)
	}
	st := s.Stats()
	if st.TierGroups != 3 || st.Bytes+st.TierBytes != local || st.Groups != before.Groups+1 {
		t.Errorf("after moving %+v, before %+v", st, before)
	}
	check := func(s *Store) {
		t.Helper()
		tr := s.Track(ts)
		for g := range uint64(3) {
			wantGroup(t, tr, g, allIDs, true)
			if i, ok := tr.Group(g); !ok || !i.Tiered || !i.Complete || i.Damaged {
				t.Errorf("group %d is %+v", g, i)
			}
			put(t, tr, part(g, 2), Duplicate)
			o := part(g, 2)
			o.Payload = []byte("another")
			put(t, tr, o, Conflict)
			if ids, ended, err := tr.Objects(g); !slices.Equal(ids, allIDs) || !ended || err != nil {
				t.Errorf("objects %v, %v, %v", ids, ended, err)
			}
		}
		wantGroup(t, tr, 3, []uint64{0}, false)
		wantGroup(t, tr, 4, allIDs, true)
		if ids, _, err := read(tr, 1, 3); err != nil || !slices.Equal(ids, []uint64{3, 4, 5}) {
			t.Errorf("from 3: %v, %v", ids, err)
		}
		sum, _ := tr.Summary()
		if sum.TierGroups != 3 || sum.TierBytes != st.TierBytes || sum.Bytes != st.Bytes || sum.Whole != 4 {
			t.Errorf("summary %+v, want %+v", sum, st)
		}
	}
	check(s)
	puts := b.count("put")
	move(t, s)
	if b.count("put") != puts || puts != 3 {
		t.Errorf("%d uploads, then %d", puts, b.count("put"))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	asked := maps.Clone(b.counts)
	s = open(t, dir, tierConfig(b, c))
	if !maps.Equal(asked, b.counts) {
		t.Errorf("the bucket was asked when the store was opened: %v, before %v", b.counts, asked)
	}
	check(s)
	s.Close()
	// Without the bucket the store knows what is there, and cannot read it.
	s = open(t, dir, Config{})
	if _, _, err := read(s.Track(ts), 1, 0); !errors.Is(err, errTier) || !MayPass(err) {
		t.Errorf("without a bucket: %v", err)
	}
	if i, _ := s.Track(ts).Group(1); !i.Complete || i.Damaged {
		t.Errorf("without a bucket: %+v", i)
	}
}

// What is in the bucket is a file of a store.
func TestTierHoldsFilesOfAStore(t *testing.T) {
	b, other := newBucket(), t.TempDir()
	tieredStore(t, t.TempDir(), b, 3)
	for key, body := range b.objects {
		path := filepath.Join(other, groupsDir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, other, Config{})
	for g := range uint64(3) {
		wantGroup(t, s.Track(ts), g, allIDs, true)
	}
}

func TestTierKnowsByIndex(t *testing.T) {
	b, dir := newBucket(), t.TempDir()
	c := &clock{t: time.Now()}
	conf := tierConfig(b, c)
	conf.leastIndexed, conf.settled = 1, -time.Minute
	s := open(t, dir, conf)
	tr := s.Track(ts)
	for g := range uint64(5) {
		putGroup(t, tr, g)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	move(t, s)
	st := s.Stats()
	s.Close()
	if recalled(t, dir) == 0 {
		t.Skip("this file system's folders do not tell of changes")
	}
	s = open(t, dir, conf)
	st.Stored = 0
	if got := s.Stats(); got != st {
		t.Errorf("%+v, before %+v", got, st)
	}
	for g := range uint64(5) {
		wantGroup(t, s.Track(ts), g, allIDs, true)
	}
}

// Whatever step a relay is killed at, one of file and object is there, and the next run ends what was begun.
func TestTierKilled(t *testing.T) {
	for _, at := range []string{"before the upload", "after the upload", "while the stub is written", "before the file is removed"} {
		t.Run(at, func(t *testing.T) {
			b, dir := newBucket(), t.TempDir()
			s, _, c := tieredStore(t, dir, b, 1)
			s.Close()
			body := b.objects["ec-atsc-2065-3/ts_t07/0/0.eco"]
			if err := os.WriteFile(pathOf(dir, 0, ".eco"), body, 0o644); err != nil {
				t.Fatal(err)
			}
			stub := pathOf(dir, 0, extTier)
			switch at {
			case "before the upload":
				b.objects, b.about = make(map[string][]byte), make(map[string]Tiered)
				os.Remove(stub)
			case "after the upload":
				os.Remove(stub)
			case "while the stub is written":
				os.Rename(stub, stub+extTemp)
				os.Truncate(stub+extTemp, 7)
			}
			puts := b.count("put")
			s = open(t, dir, tierConfig(b, c))
			wantGroup(t, s.Track(ts), 0, allIDs, true)
			if i, _ := s.Track(ts).Group(0); i.Tiered {
				t.Error("the group's file does not count")
			}
			c.add(2 * time.Hour)
			move(t, s)
			wantGroup(t, s.Track(ts), 0, allIDs, true)
			if i, _ := s.Track(ts).Group(0); !i.Tiered || s.Stats().TierGroups != 1 {
				t.Errorf("not moved: %+v", i)
			}
			want := 0
			if at == "before the upload" {
				want = 1
			}
			if got := b.count("put") - puts; got != want {
				t.Errorf("%d uploads, want %d", got, want)
			}
			if got := files(t, dir); slices.ContainsFunc(got, func(f string) bool { return strings.HasSuffix(f, "/0.eco") || strings.HasSuffix(f, extTemp) }) {
				t.Errorf("files are %q", got)
			}
		})
	}
}

func TestTierThatFails(t *testing.T) {
	b, dir, c := newBucket(), t.TempDir(), &clock{t: time.Now()}
	var log bytes.Buffer
	conf := tierConfig(b, c)
	conf.Interval, conf.Logger = time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, dir, conf)
	tr := s.Track(ts)
	for g := range uint64(10) {
		putGroup(t, tr, g)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	refused := errors.New("403 AccessDenied")
	b.failing(func(string, string) error { return refused })
	for range 3 {
		if err := s.MoveToTier(t.Context()); !errors.Is(err, refused) {
			t.Fatalf("moving: %v", err)
		}
		c.add(time.Hour)
	}
	if n := b.count("stat"); n > 3*(tierVain+tierLanes) {
		t.Errorf("%d requests of a bucket that refuses", n)
	}
	for g := range uint64(10) {
		wantGroup(t, tr, g, allIDs, true)
	}
	// A bucket that takes uploads and has something else afterwards is one that fails.
	b.failing(func(request, key string) error {
		if request == "put" {
			return errors.New("after the upload: it has other bytes")
		}
		return nil
	})
	if err := s.MoveToTier(t.Context()); err == nil {
		t.Error("an upload that failed passed")
	}
	if s.Stats().TierGroups != 0 {
		t.Errorf("groups were moved: %+v", s.Stats())
	}
	b.failing(nil)
	c.add(time.Hour)
	move(t, s)
	if s.Stats().TierGroups != 9 {
		t.Errorf("not all were moved afterwards: %+v", s.Stats())
	}
	for g := range uint64(10) {
		wantGroup(t, tr, g, allIDs, true)
	}
}

// A bucket that deletes nothing, as by its keys or a hold on one object, still takes what would fill the disk.
func TestTierThatDeletesNothing(t *testing.T) {
	b, dir := newBucket(), t.TempDir()
	s, tr, c := tieredStore(t, dir, b, 3)
	if n, _, err := tr.Delete(func(i Info) bool { return i.Group == 1 }); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	putGroup(t, tr, 4)
	s.Flush()
	c.add(2 * time.Hour)
	refused := errors.New("403 AccessDenied")
	b.failing(func(request, key string) error {
		if request == "remove" {
			return refused
		}
		return nil
	})
	if err := s.MoveToTier(t.Context()); !errors.Is(err, refused) {
		t.Errorf("nobody is told: %v", err)
	}
	if i, _ := tr.Group(3); !i.Tiered {
		t.Error("a group that is old enough was not moved")
	}
}

// A bucket that fails is told of once, and so is that it works again.
func TestTierFailureIsSaidOnce(t *testing.T) {
	b, c := newBucket(), &clock{t: time.Now()}
	lines := &logLines{}
	conf := tierConfig(b, c)
	conf.Interval, conf.Logger = time.Millisecond, slog.New(slog.NewTextHandler(lines, nil))
	s := open(t, t.TempDir(), conf)
	for g := range uint64(4) {
		putGroup(t, s.Track(ts), g)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	b.failing(func(string, string) error { return errors.New("503 SlowDown") })
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	defer run.Wait()
	defer stop()
	lines.wait(t, "503 SlowDown")
	if st := s.Tier(); st.Err == "" || st.Waiting != 3 {
		t.Errorf("state %+v", st)
	}
	b.failing(nil)
	c.add(time.Hour)
	lines.wait(t, "moving groups to the cold tier works again")
	if n := lines.count("503 SlowDown"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// A bucket that does not answer is told of at the start, although nothing is to be moved, and until it answers.
func TestTierThatIsDownAtTheStart(t *testing.T) {
	b, c := newBucket(), &clock{t: time.Now()}
	lines := &logLines{}
	conf := tierConfig(b, c)
	conf.Interval, conf.Logger = time.Millisecond, slog.New(slog.NewTextHandler(lines, nil))
	s := open(t, t.TempDir(), conf)
	b.failing(func(string, string) error { return errors.New("no such bucket") })
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	defer run.Wait()
	defer stop()
	lines.wait(t, "no such bucket")
	for end := time.Now().Add(20 * time.Second); b.count("list") < 2 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	if lines.count("works again") != 0 || s.Tier().Err == "" {
		t.Errorf("state %+v while it is down", s.Tier())
	}
	b.failing(nil)
	lines.wait(t, "works again")
}

// logLines are lines of a log, for which a test can wait.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logLines) wait(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); l.count(text) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log does not say %q:\n%s", text, l.b.String())
		}
	}
}

func TestTierOfTwoRelays(t *testing.T) {
	b := newBucket()
	_, one, _ := tieredStore(t, t.TempDir(), b, 3)
	puts := b.count("put")
	// The other relay got the objects in another order, and was restarted meanwhile.
	dir, c := t.TempDir(), &clock{t: time.Now()}
	s := open(t, dir, tierConfig(b, c))
	tr := s.Track(ts)
	for g := range uint64(4) {
		for id := range slices.Backward(allIDs) {
			put(t, tr, part(g, uint64(id)), Stored)
		}
		s.Close()
		s = open(t, dir, tierConfig(b, c))
		tr = s.Track(ts)
	}
	c.add(2 * time.Hour)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	move(t, s)
	if got := b.count("put"); got != puts || s.Stats().TierGroups != 3 {
		t.Errorf("%d uploads after %d, %+v", got, puts, s.Stats())
	}
	for g := range uint64(3) {
		wantGroup(t, tr, g, allIDs, true)
		wantGroup(t, one, g, allIDs, true)
	}
}

// Another relay wrote the same objects in another way: both believe their hashes.
func TestTierOfOtherBytes(t *testing.T) {
	b := newBucket()
	s, tr, _ := tieredStore(t, t.TempDir(), b, 1)
	key := b.keys()[0]
	var other bytes.Buffer
	w := object.NewWriter(&other)
	for id := range uint64(parts + 1) {
		if err := w.WriteTrack(ts, nil); err != nil {
			t.Fatal(err)
		}
		o := part(0, id)
		o.Priority = 7
		if err := w.WriteObject(ts, o); err != nil {
			t.Fatal(err)
		}
	}
	b.objects[key] = other.Bytes()
	wantGroup(t, tr, 0, allIDs, true)
	if st := s.Stats(); st.TierBytes != int64(other.Len()) {
		t.Errorf("%d bytes, the stub says %d", other.Len(), st.TierBytes)
	}
	wantGroup(t, tr, 0, allIDs, true)
}

func TestTierConflict(t *testing.T) {
	b := newBucket()
	tieredStore(t, t.TempDir(), b, 1)
	key := b.keys()[0]
	kept := bytes.Clone(b.objects[key])
	c := &clock{t: time.Now()}
	s := open(t, t.TempDir(), tierConfig(b, c))
	tr := s.Track(ts)
	for id := range uint64(parts + 1) {
		o := part(0, id)
		if o.Status == object.Normal {
			o.Payload = []byte(fmt.Sprint("something else ", id))
			o.Properties = object.Properties{Hash: object.Sum(o.Payload), HasHash: true}.Append(nil)
		}
		put(t, tr, o, Stored)
	}
	putGroup(t, tr, 1)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	move(t, s)
	gets := b.count("get")
	move(t, s)
	if i, _ := tr.Group(0); i.Tiered || !bytes.Equal(b.objects[key], kept) || s.Tier().Stays != 1 {
		t.Errorf("group is %+v, state %+v", i, s.Tier())
	}
	if b.count("get") != gets {
		t.Error("it was looked at again at once")
	}
}

// A group without hashes stays: its name does not say what is in it.
func TestTierTakesWhatHasHashes(t *testing.T) {
	b, c := newBucket(), &clock{t: time.Now()}
	s := open(t, t.TempDir(), tierConfig(b, c))
	tr := s.Track(ts)
	for g := range uint64(2) {
		put(t, tr, &object.Object{Group: g, Payload: []byte("no hash")}, Stored)
		put(t, tr, &object.Object{Group: g, ID: 1, Status: object.EndOfGroup}, Stored)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	move(t, s)
	if len(b.keys()) != 0 || s.Tier().Stays != 1 {
		t.Errorf("%q in the bucket, %+v", b.keys(), s.Tier())
	}
}

func TestTierDamage(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, break_ := range map[string]func(b []byte) []byte{
		"flipped": flip, "cut": func(b []byte) []byte { return b[:len(b)-9] }, "empty": func([]byte) []byte { return []byte{} },
		"an error page": func([]byte) []byte { return []byte("<html>moved</html>") }, "more": func(b []byte) []byte { return append(b, "more"...) },
		"gone": nil,
	} {
		t.Run(name, func(t *testing.T) {
			b, dir := newBucket(), t.TempDir()
			s, tr, c := tieredStore(t, dir, b, 2)
			key := b.keys()[0]
			if break_ == nil {
				delete(b.objects, key)
			} else {
				b.objects[key] = break_(b.objects[key])
			}
			if _, _, err := read(tr, 0, 0); !errors.Is(err, ErrDamaged) || MayPass(err) {
				t.Fatalf("read: %v", err)
			}
			if i, _ := tr.Group(0); i.Complete || !i.Damaged {
				t.Errorf("group is %+v", i)
			}
			wantGroup(t, tr, 1, allIDs, true)
			if _, _, err := tr.Verify(0); !errors.Is(err, ErrDamaged) {
				t.Errorf("verify: %v", err)
			}
			kept, err := tr.Mend(0)
			if err != nil {
				t.Fatal(err)
			}
			if name == "flipped" && kept < parts {
				t.Errorf("%d objects kept", kept)
			}
			for id := range uint64(parts + 1) {
				if tr.Wants(0, id) {
					put(t, tr, part(0, id), Stored)
				}
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			wantGroup(t, tr, 0, allIDs, true)
			c.add(2 * time.Hour)
			move(t, s) // it does not believe what the bucket says of the object
			wantGroup(t, tr, 0, allIDs, true)
			if i, _ := tr.Group(0); !i.Tiered || !i.Complete {
				t.Errorf("group is %+v", i)
			}
			if _, err := wholeGroup(b.objects[key], ts, 0); err != nil {
				t.Errorf("in the bucket: %v", err)
			}
		})
	}
}

// What comes again of a group that is damaged in the tier is stored, as with a damaged file.
func TestTierDamageIsStoredAgain(t *testing.T) {
	b := newBucket()
	_, tr, _ := tieredStore(t, t.TempDir(), b, 2)
	delete(b.objects, b.keys()[0])
	read(tr, 0, 0)
	putGroup(t, tr, 0)
	wantGroup(t, tr, 0, allIDs, true)
}

func TestTierDamagedStub(t *testing.T) {
	b, dir := newBucket(), t.TempDir()
	s, _, c := tieredStore(t, dir, b, 3)
	s.Close()
	if err := os.WriteFile(pathOf(dir, 1, extTier), []byte("ec tier 1\nnonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, tierConfig(b, c))
	tr := s.Track(ts)
	if got := groupIDs(tr); !slices.Equal(got, []uint64{0, 2, 3}) {
		t.Errorf("groups %v", got)
	}
	if _, n := s.LeftOut(); n != 1 {
		t.Errorf("%d parts left out", n)
	}
	putGroup(t, tr, 1)
	wantGroup(t, tr, 1, allIDs, true)
}

func TestTierRetention(t *testing.T) {
	b, dir := newBucket(), t.TempDir()
	c := &clock{t: time.Now()}
	conf := tierConfig(b, c)
	conf.MaxAge, conf.TierMaxAge = 3*time.Hour, 10*time.Hour
	s := open(t, dir, conf)
	tr := s.Track(ts)
	for g := range uint64(4) {
		putGroup(t, tr, g)
	}
	put(t, tr, part(4, 0), Stored)
	s.Flush()
	c.add(5 * time.Hour)
	putGroup(t, tr, 5)
	move(t, s)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if got := groupIDs(tr); !slices.Equal(got, []uint64{0, 1, 2, 3, 5}) { // 4 is not whole, and older than MaxAge
		t.Errorf("groups %v", got)
	}
	c.add(6 * time.Hour)
	b.failing(func(request, key string) error { return errors.New("down") })
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if got := groupIDs(tr); !slices.Equal(got, []uint64{5}) || s.Stats().TierBytes != 0 {
		t.Errorf("groups %v, %+v", got, s.Stats())
	}
	if err := s.MoveToTier(t.Context()); err == nil || len(b.keys()) != 4 {
		t.Errorf("%v, in the bucket %q", err, b.keys())
	}
	s.Close()
	b.failing(nil)
	s = open(t, dir, conf)
	if got := groupIDs(s.Track(ts)); !slices.Equal(got, []uint64{5}) {
		t.Errorf("groups after a restart: %v", got)
	}
	move(t, s)
	if len(b.keys()) != 0 || b.count("remove") != 2 {
		t.Errorf("%d deletions, in the bucket %q", b.count("remove"), b.keys())
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files %q", got)
	}
}

// The disk's bound is about the disk, and holds while the bucket is away.
func TestTierAndTheDisksBound(t *testing.T) {
	b, c := newBucket(), &clock{t: time.Now()}
	lines := &logLines{}
	conf := tierConfig(b, c)
	conf.Logger = slog.New(slog.NewTextHandler(lines, nil))
	one := func() int64 {
		s := open(t, t.TempDir(), Config{})
		putGroup(t, s.Track(ts), 1)
		return s.Stats().Bytes
	}()
	conf.MaxBytes = 6 * one
	s := open(t, t.TempDir(), conf)
	tr := s.Track(ts)
	for g := range uint64(20) {
		putGroup(t, tr, g)
		s.Flush()
		c.add(2 * time.Hour)
		move(t, s)
		if err := s.Maintain(); err != nil {
			t.Fatal(err)
		}
	}
	if got := groupIDs(tr); len(got) != 20 {
		t.Fatalf("groups %v", got)
	}
	b.failing(func(string, string) error { return errors.New("down") })
	for g := uint64(20); g < 30; g++ {
		putGroup(t, tr, g)
		s.Flush()
		c.add(2 * time.Hour)
		if err := s.Maintain(); err != nil {
			t.Fatal(err)
		}
	}
	if got := groupIDs(tr); len(got) >= 30 || len(got) < 24 || s.Stats().Bytes > conf.MaxBytes {
		t.Errorf("groups %v, %+v", got, s.Stats())
	}
	if lines.count("removed before they went to the cold tier") == 0 {
		t.Error("nothing was said")
	}
}

// What goes while it is moved, for room or because its file is damaged or gone, lies in the tier then: another relay may have it nowhere else.
// What is deleted meanwhile is deleted there, too.
func TestTierWhileGroupsGo(t *testing.T) {
	const last = 1 << 40 // in another folder, so that the folder of the others goes with them
	for _, c := range []struct {
		why     string
		leave   func(s *Store, tr *Track, dir string) error
		deleted bool
	}{
		{"the disk's bound", func(s *Store, _ *Track, _ string) error { return s.Maintain() }, false},
		{"the file vanishes", func(_ *Store, tr *Track, dir string) error {
			defer read(tr, 0, 0)
			return os.Remove(pathOf(dir, 0, extWhole))
		}, false},
		{"an order", func(_ *Store, tr *Track, _ string) error {
			_, _, err := tr.Delete(func(i Info) bool { return i.Group != last })
			return err
		}, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			b, dir := newBucket(), t.TempDir()
			tieredStore(t, t.TempDir(), b, 1) // another relay
			now := &clock{t: time.Now()}
			conf := tierConfig(b, now)
			conf.MaxBytes = 1
			s := open(t, dir, conf)
			tr := s.Track(ts)
			putGroup(t, tr, 0)
			putGroup(t, tr, last)
			s.Flush()
			now.add(2 * time.Hour)
			b.hold = func(request, key string) {
				if request == "stat" {
					if err := c.leave(s, tr, dir); err != nil {
						t.Error(err)
					}
				}
			}
			move(t, s)
			b.hold = nil
			check := func(when string) {
				if i, ok := tr.Group(0); ok == c.deleted || ok && !i.Tiered {
					t.Errorf("%s the group is there: %v, %+v", when, ok, i)
				}
				if n := len(b.keys()); n > 0 == c.deleted {
					t.Errorf("%s in the bucket are %q", when, b.keys())
				}
				if st := s.Stats(); st.TierGroups != len(b.keys()) || st.Groups != 1+len(b.keys()) {
					t.Errorf("%s %+v", when, st)
				}
			}
			move(t, s)
			check("afterwards")
			s.Close()
			s = open(t, dir, conf)
			tr = s.Track(ts)
			check("after a restart")
			if !c.deleted {
				wantGroup(t, tr, 0, allIDs, true)
			}
		})
	}
}

func TestTierDelete(t *testing.T) {
	b := newBucket()
	s, tr, _ := tieredStore(t, t.TempDir(), b, 3)
	if groups, _, err := tr.Delete(func(Info) bool { return true }); groups != 4 || err != nil {
		t.Errorf("deleted %d, %v", groups, err)
	}
	// One comes again before the bucket was asked.
	putGroup(t, tr, 1)
	putGroup(t, tr, 9)
	s.Flush()
	move(t, s)
	if got := b.keys(); len(got) != 0 {
		t.Errorf("in the bucket are %q", got)
	}
	wantGroup(t, tr, 1, allIDs, true)
}

func TestTierRelist(t *testing.T) {
	b := newBucket()
	long := object.TrackName{Namespace: object.Namespace{"ec", strings.Repeat("long", 60)}, Name: "v"}
	c := &clock{t: time.Now()}
	old := open(t, t.TempDir(), tierConfig(b, c))
	for _, name := range []object.TrackName{ts, long} {
		for g := range uint64(6) {
			putGroup(t, old.Track(name), g)
		}
	}
	old.Flush()
	c.add(2 * time.Hour)
	move(t, old)
	b.objects["readme.txt"] = []byte("not a group")
	b.objects["ec-x/v/7/1.eco"] = []byte("in the wrong folder")

	s := open(t, t.TempDir(), tierConfig(b, c))
	putGroup(t, s.Track(ts), 2) // it is here already
	s.Flush()
	relist := func() (sum Relisted) {
		for after := ""; ; {
			r, err := s.Relist(t.Context(), after, 3)
			if err != nil {
				t.Fatal(err)
			}
			sum.Keys, sum.Taken, sum.Other = sum.Keys+r.Keys, sum.Taken+r.Taken, sum.Other+r.Other
			if after = r.After; after == "" {
				return sum
			}
		}
	}
	if got := relist(); got.Keys != 12 || got.Taken != 9 || got.Other != 2 {
		t.Errorf("%+v", got)
	}
	if got := relist(); got.Taken != 0 {
		t.Errorf("once more: %+v", got)
	}
	tr := s.Track(ts)
	if _, err := tr.Put(part(3, 1), object.Sum(part(3, 1).Payload)); !errors.Is(err, errTier) {
		t.Errorf("object of a group that was not read: %v", err)
	}
	for _, name := range []object.TrackName{ts, long} {
		for g := range uint64(5) {
			wantGroup(t, s.Track(name), g, allIDs, true)
		}
	}
	put(t, tr, part(3, 1), Duplicate)
	i, _ := tr.Group(3)
	if was, _ := old.Track(ts).Group(3); !i.Time.Equal(was.Time) {
		t.Errorf("written at %v, it was %v", i.Time, was.Time)
	}
}

// An object that is larger than any group of a relay is not taken for one.
func TestTierRelistTooLarge(t *testing.T) {
	b := newBucket()
	tieredStore(t, t.TempDir(), b, 2)
	s := open(t, t.TempDir(), tierConfig(b, &clock{t: time.Now()}))
	b.objects["ec-atsc-2065-3/ts_t07/0/7.eco"] = make([]byte, mostTiered+1)
	r, err := s.Relist(t.Context(), "", 10)
	if err != nil || r.Taken != 2 || r.Other != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A group that is small only because it is compressed is not read into memory beyond the bound.
func TestTierOfWhatCompressesWell(t *testing.T) {
	b, c := newBucket(), &clock{t: time.Now()}
	conf := tierConfig(b, c)
	conf.CompressAfter = time.Minute
	s := open(t, t.TempDir(), conf)
	tr := s.Track(ts)
	zeros := make([]byte, mostTiered/2)
	sum := object.Sum(zeros)
	for id := range uint64(3) {
		o := &object.Object{Group: 1, ID: id, Payload: zeros, Properties: object.Properties{Hash: sum, HasHash: true}.Append(nil)}
		if id == 2 {
			o.Properties = nil // which nobody should come to
		}
		if _, err := tr.Put(o, sum); err != nil {
			t.Fatal(err)
		}
	}
	put(t, tr, &object.Object{Group: 1, ID: 3, Status: object.EndOfGroup}, Stored)
	putGroup(t, tr, 2)
	s.Flush()
	c.add(2 * time.Hour)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if i, _ := tr.Group(1); i.Bytes > 1<<20 {
		t.Fatalf("it did not compress: %+v", i)
	}
	g := tr.groups[1]
	if _, _, err := g.forTier(); !errors.Is(err, errStays) || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("%v", err)
	}
}

func TestTierReadersShare(t *testing.T) {
	b := newBucket()
	_, tr, _ := tieredStore(t, t.TempDir(), b, 3)
	gate := make(chan struct{})
	b.hold = func(request, _ string) {
		if request == "get" {
			<-gate
		}
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := read(tr, 1, 0); err != nil {
				t.Error(err)
			}
		})
	}
	for tr.s.cold.readers() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	all.Wait()
	if n := b.count("get"); n != 1 {
		t.Errorf("%d downloads for 20 readers of one group", n)
	}
}

// readers counts the groups in memory or on their way there.
func (c *cold) readers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.groups)
}

func TestTierReadsAhead(t *testing.T) {
	b := newBucket()
	_, tr, _ := tieredStore(t, t.TempDir(), b, 40)
	read(tr, 7, 0)
	if n := b.count("get"); n != 1 {
		t.Errorf("%d downloads for a single group", n)
	}
	read(tr, 8, 0)
	for end := time.Now().Add(10 * time.Second); b.count("get") < 2+coldAhead; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d downloads for two groups in succession", b.count("get"))
		}
	}
	for g := uint64(9); g < 40; g++ {
		wantGroup(t, tr, g, allIDs, true)
	}
	if n := b.count("get"); n != 33 {
		t.Errorf("%d downloads of 33 groups", n)
	}
}

func TestTierMemory(t *testing.T) {
	b, c := newBucket(), &clock{t: time.Now()}
	conf := tierConfig(b, c)
	s := open(t, t.TempDir(), conf)
	tr := s.Track(ts)
	for g := range uint64(30) {
		putGroup(t, tr, g)
	}
	s.Flush()
	c.add(2 * time.Hour)
	move(t, s)
	s.c.tierMemory = 3 * s.Stats().TierBytes / 29
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for g := range uint64(29) {
				g = (g + uint64(3*i)) % 29
				if _, _, err := read(tr, g, 0); err != nil {
					t.Errorf("group %d: %v", g, err)
				}
				s.cold.mu.Lock()
				if s.cold.used > s.c.tierMemory {
					t.Errorf("%d bytes in memory, at most %d", s.cold.used, s.c.tierMemory)
				}
				s.cold.mu.Unlock()
			}
		})
	}
	all.Wait()
	// A reader whose group went goes on where it was.
	r, err := tr.Open(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	for g := uint64(10); g < 20; g++ {
		read(tr, g, 0)
	}
	for range parts {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
}

// While the bucket does not answer, the first reader waits, and others are told at once.
func TestTierThatIsDownIsNotWaitedForLong(t *testing.T) {
	b := newBucket()
	_, tr, _ := tieredStore(t, t.TempDir(), b, 10)
	b.failing(func(string, string) error { return errors.New("timeout") })
	for g := range uint64(10) {
		if _, _, err := read(tr, g, 0); !MayPass(err) {
			t.Errorf("group %d: %v", g, err)
		}
		if i, _ := tr.Group(g); !i.Complete || i.Damaged {
			t.Errorf("group %d counts as %+v", g, i)
		}
	}
	if n := b.count("get"); n > 2 {
		t.Errorf("%d requests of a bucket that is down", n)
	}
	b.failing(nil)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, _, err := read(tr, 3, 0)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// While a bucket hangs, in an upload and for a reader, objects of the same track are stored, made final, read and removed.
func TestTierThatHangsHoldsUpNothing(t *testing.T) {
	b := newBucket()
	s, tr, c := tieredStore(t, t.TempDir(), b, 3)
	for g := uint64(4); g < 8; g++ {
		putGroup(t, tr, g)
	}
	s.Flush()
	c.add(2 * time.Hour)
	gate, inside := make(chan struct{}), make(chan string, 100)
	b.hold = func(request, _ string) { inside <- request; <-gate }
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer close(gate)
	waiting.Go(func() { s.MoveToTier(t.Context()) })
	waiting.Go(func() { read(tr, 1, 0) })
	for asked := ""; !strings.Contains(asked, "stat") || !strings.Contains(asked, "get"); {
		asked += <-inside
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for g := uint64(8); g < 12; g++ {
			putGroup(t, tr, g)
			if err := errors.Join(s.Flush(), s.Maintain()); err != nil {
				t.Error(err)
			}
			wantGroup(t, tr, g, allIDs, true)
		}
		put(t, tr, part(2, 1), Duplicate)
		if _, _, err := s.Track(ts).Delete(func(i Info) bool { return i.Group == 0 || i.Group == 9 }); err != nil {
			t.Error(err)
		}
		tr.Summary()
		s.Tier()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("the store waits for the bucket")
	}
}

func TestTierCloseWhileRead(t *testing.T) {
	b := newBucket()
	s, tr, _ := tieredStore(t, t.TempDir(), b, 2)
	gate := make(chan struct{})
	b.hold = func(string, string) { <-gate }
	var reader sync.WaitGroup
	reader.Go(func() {
		if _, _, err := read(tr, 1, 0); err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("read: %v", err)
		}
	})
	for tr.s.cold.readers() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(gate) })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	reader.Wait()
}

func FuzzStub(f *testing.F) {
	b := newBucket()
	dir := f.TempDir()
	tieredStore(f, dir, b, 1)
	whole, err := os.ReadFile(pathOf(dir, 0, extTier))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(stub{size: 5, mtime: -7}.append(nil))
	f.Add([]byte(stubFormat))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStub(b)
		if err != nil {
			return
		}
		again, err := parseStub(s.append(nil))
		if err != nil || again.size != s.size || again.mtime != s.mtime || (again.idx == nil) != (s.idx == nil) {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
		if s.idx != nil && !slices.Equal(s.idx.entries, again.idx.entries) {
			t.Fatal("other objects")
		}
	})
}
