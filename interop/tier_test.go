package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
	"every.channel/ec/lib/store"
	"every.channel/ec/lib/tier"
)

// versity is a versitygw that keeps its objects in a folder.
type versity struct {
	t    testing.TB
	dir  string
	addr string
	log  string
	cmd  *exec.Cmd
}

// Keys of the test's server, which nobody else can reach.
const versityKey, versitySecret = "testkey", "testsecret"

func startVersity(t testing.TB) *versity {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &versity{t: t, dir: t.TempDir(), addr: l.Addr().String(), log: filepath.Join(t.TempDir(), "log")}
	l.Close()
	if err := os.Mkdir(filepath.Join(v.dir, "archive"), 0o755); err != nil {
		t.Fatal(err)
	}
	v.start()
	t.Cleanup(v.kill)
	return v
}

func (v *versity) start() {
	v.t.Helper()
	program := foreign.Path(v.t, "EC_VERSITYGW", "the path of versitygw, which go install github.com/versity/versitygw/cmd/versitygw@v1.8.0 makes")
	v.cmd = exec.Command(program, "--port", v.addr, "--access", versityKey, "--secret", versitySecret, "--quiet", "--keep-alive", "--access-log", v.log, "posix", v.dir)
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	until(v.t, "versitygw to listen", func() bool {
		c, err := net.Dial("tcp", v.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (v *versity) kill() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
}

func (v *versity) bucket(secret string, rate int64) *tier.Bucket {
	v.t.Helper()
	b, err := tier.Open(tier.Config{URL: "http://" + v.addr + "/archive/home", Credentials: tier.Credentials{Key: versityKey, Secret: secret}, Rate: rate})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(b.Close)
	return b
}

// requests counts the lines of the server's log since the last call.
func (v *versity) requests() int {
	b, err := os.ReadFile(v.log)
	if err != nil {
		v.t.Fatal(err)
	}
	os.Truncate(v.log, 0)
	return bytes.Count(b, []byte(" s3_"))
}

// file is where the server keeps a group.
func (v *versity) file(group uint64) string {
	return filepath.Join(v.dir, "archive", "home", "ec-atsc-2065-3", "ts_t07", fmt.Sprint(group/1000), fmt.Sprint(group)+".eco")
}

func tierStore(t testing.TB, dir string, b store.Tier) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Config{Tier: b})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fill(t testing.TB, s *store.Store, from, to uint64) {
	t.Helper()
	for g := from; g < to; g++ {
		for id := range uint64(parts + 1) {
			o := part(g, id)
			if _, err := s.Track(broadcast).Put(&o, object.Sum(o.Payload)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
}

func mustHave(t testing.TB, s *store.Store, from, to uint64) {
	t.Helper()
	for g := from; g < to; g++ {
		if n, _, err := s.Track(broadcast).Verify(g); n != parts+1 || err != nil {
			t.Errorf("group %d: %d objects, %v", g, n, err)
		}
	}
}

func inTier(s *store.Store) int { return s.Stats().TierGroups }

func TestTierOfVersity(t *testing.T) {
	v := startVersity(t)
	dir := t.TempDir()
	s := tierStore(t, dir, v.bucket(versitySecret, 0))
	fill(t, s, 0, 41)
	if err := s.MoveToTier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := inTier(s); n != 40 {
		t.Fatalf("%d groups moved", n)
	}
	if n := v.requests(); n != 3*40 {
		t.Errorf("%d requests for 40 groups", n)
	}
	mustHave(t, s, 0, 41)
	if n := v.requests(); n != 40 {
		t.Errorf("%d requests to read 40 groups", n)
	}
	// What lies there is a group file.
	b, err := os.ReadFile(v.file(7))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := object.NewReader(bytes.NewReader(b)).Next()
	if err != nil || !rec.Track.Name.Equal(broadcast) {
		t.Errorf("in the bucket: %+v, %v", rec, err)
	}
	// Another relay finds it there.
	other := tierStore(t, t.TempDir(), v.bucket(versitySecret, 0))
	fill(t, other, 5, 10)
	if err := other.MoveToTier(t.Context()); err != nil || inTier(other) != 4 {
		t.Errorf("the other relay: %v, %d groups", err, inTier(other))
	}
	if n := v.requests(); n != 4 {
		t.Errorf("%d requests for 4 groups that are there", n)
	}
	if r, err := archive.Relist(t.Context(), other, archive.Order{}, time.Minute); err != nil || r.Keys != 40 || r.Taken != 35 || r.Other != 0 {
		t.Errorf("relisting: %+v, %v", r, err)
	}
	mustHave(t, other, 0, 40)
	// Damage there is damage.
	flipped, err := os.ReadFile(v.file(3))
	if err == nil {
		flipped[len(flipped)/2] ^= 1
		err = os.WriteFile(v.file(3), flipped, 0o644)
	}
	if err = errors.Join(err, os.Remove(v.file(4))); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = tierStore(t, dir, v.bucket(versitySecret, 0))
	c, err := archive.Check(t.Context(), s, archive.Order{Repair: true}, 0)
	if err != nil || len(c.Bad) != 2 || c.Bad[0].Group != 3 || c.Bad[1].Group != 4 || !c.Bad[0].Mended || !c.Bad[1].Mended || c.Bad[0].Objects != parts || c.Unread != 0 {
		t.Errorf("check: %+v, %v", c, err)
	}
	for _, g := range []uint64{3, 4} {
		for id := range uint64(parts + 1) {
			if o := part(g, id); s.Track(broadcast).Wants(g, id) {
				if _, err := s.Track(broadcast).Put(&o, object.Sum(o.Payload)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := errors.Join(s.Flush(), s.MoveToTier(t.Context())); err != nil || inTier(s) != 40 {
		t.Errorf("after mending: %v, %d groups", err, inTier(s))
	}
	mustHave(t, s, 0, 41)
	mustHave(t, other, 0, 40)
	// Deleting.
	v.requests()
	if n, _, err := s.Track(broadcast).Delete(func(i store.Info) bool { return i.Group < 30 }); n != 30 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if err := s.MoveToTier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := v.requests(); n != 1 {
		t.Errorf("%d requests to delete 30 groups", n)
	}
	if _, err := os.Stat(v.file(29)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("group 29 is still there: %v", err)
	}
	mustHave(t, s, 30, 41)
}

// The server refuses, goes away, and comes back.
func TestTierOfVersityThatFails(t *testing.T) {
	v := startVersity(t)
	dir := t.TempDir()
	s := tierStore(t, dir, v.bucket("wrong secret", 0))
	fill(t, s, 0, 11)
	err := s.MoveToTier(t.Context())
	if err == nil || !strings.Contains(err.Error(), "403 SignatureDoesNotMatch") && !strings.Contains(err.Error(), "403 Forbidden") && !strings.Contains(err.Error(), "403 AccessDenied") {
		t.Errorf("a wrong secret: %v", err)
	}
	if inTier(s) != 0 {
		t.Error("groups moved")
	}
	s.Close()
	// It is killed in the middle of uploads.
	s = tierStore(t, dir, v.bucket(versitySecret, 512<<10))
	killed := make(chan struct{})
	time.AfterFunc(700*time.Millisecond, func() { v.kill(); close(killed) })
	if err := s.MoveToTier(t.Context()); err == nil {
		t.Error("uploads to a killed server passed")
	}
	<-killed
	moved := inTier(s)
	if moved == 0 || moved == 10 {
		t.Logf("it was killed too early or late: %d groups moved", moved)
	}
	for g := range uint64(11) {
		i, ok := s.Track(broadcast).Group(g)
		if !ok || !i.Complete || i.Damaged {
			t.Errorf("group %d is %+v", g, i)
		}
	}
	s.Close()
	v.start()
	s = tierStore(t, dir, v.bucket(versitySecret, 0))
	if err := s.MoveToTier(t.Context()); err != nil || inTier(s) != 10 {
		t.Errorf("afterwards: %v, %d groups", err, inTier(s))
	}
	mustHave(t, s, 0, 11)
}

// A viewer fetches what is in the tier as if it were on the disk, also while the server is away in the middle.
func TestRelayWithTier(t *testing.T) {
	v := startVersity(t)
	s := start(t, "moqt", relay.ServerConfig{Store: store.Config{Tier: v.bucket(versitySecret, 0), Interval: 50 * time.Millisecond}})
	p := s.publish(t, broadcast)
	for g := range uint64(31) {
		p.group(t, g)
	}
	s.stored(t, broadcast, 31)
	until(t, "groups in the tier", func() bool { _, err := os.Stat(v.file(29)); return err == nil })
	viewers := make(chan [2]int)
	for range 4 {
		go func() {
			n, unknown := fetchParts(t, s.dial(t), 0, 30)
			viewers <- [2]int{n, unknown}
		}()
	}
	for range 4 {
		if got := await(t, within(t, patience), viewers); got != [2]int{31 * parts, 0} {
			t.Errorf("%d objects and %d gaps, want %d and 0", got[0], got[1], 31*parts)
		}
	}
	// A subscription that begins in the past goes over from the tier to what is live.
	sub := s.subscribe(t, broadcast, moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterAbsoluteStart, Start: wire.Location{Group: 3}}})
	came := make(map[uint64]bool)
	for range 28 {
		id, objects := readGroup(t, sub)
		if came[id] = true; id < 3 || id > 30 || len(objects) < parts || !bytes.Equal(objects[2], part(id, 2).Payload) {
			t.Errorf("group %d came with %d objects", id, len(objects))
		}
	}
	if len(came) != 28 {
		t.Errorf("%d groups came, want 28", len(came))
	}
	p.group(t, 31)
	if id, _ := readGroup(t, sub); id != 31 {
		t.Errorf("group %d came, want 31", id)
	}
}

// fetchParts fetches groups, and counts their objects and what the relay does not know.
func fetchParts(t testing.TB, c *moqt.Session, from, to uint64) (objects, unknown int) {
	f, err := c.Fetch(within(t, patience), broadcast, wire.Location{Group: from}, wire.Location{Group: to}, moqt.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		o, err := f.Next()
		if err == io.EOF {
			return objects, unknown
		}
		if err != nil {
			t.Fatal(err)
		}
		if o.Kind != moqt.FetchedObject {
			unknown++
			continue
		}
		b, err := io.ReadAll(f)
		if want := part(o.Group, o.ID); err != nil || !bytes.Equal(b, want.Payload) {
			t.Fatalf("object %d/%d: %d bytes, %v", o.Group, o.ID, len(b), err)
		}
		objects++
	}
}

// What is damaged in the tier comes from an upstream, as soon as a viewer has met it.
func TestTierHealsFromUpstream(t *testing.T) {
	v := startVersity(t)
	origin := start(t, "moqt", relay.ServerConfig{})
	p := origin.publish(t, broadcast)
	for g := range uint64(12) {
		p.group(t, g)
	}
	origin.stored(t, broadcast, 12)
	home := start(t, "moqt", relay.ServerConfig{
		Store: store.Config{Tier: v.bucket(versitySecret, 0), Interval: 50 * time.Millisecond},
		Relay: relay.Config{Upstreams: []relay.Upstream{{Relay: origin.url("moqt"), TLS: origin.tls}}, ScrubRate: 1 << 30},
	})
	home.namespace(t, broadcast.Namespace)
	viewer := home.dial(t)
	until(t, "the whole past", func() bool { n, _ := fetchParts(t, viewer, 0, 11); return n == 12*parts })
	until(t, "groups in the tier", func() bool {
		for g := range uint64(11) {
			if _, err := os.Stat(v.file(g)); err != nil {
				return false
			}
		}
		return true
	})
	b, err := os.ReadFile(v.file(3))
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(v.file(3), b, 0o644)
	}
	if err = errors.Join(err, os.Remove(v.file(4))); err != nil {
		t.Fatal(err)
	}
	until(t, "the whole past again", func() bool { n, _ := fetchParts(t, viewer, 0, 11); return n == 12*parts })
}
