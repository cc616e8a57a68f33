package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func await[T any](t testing.TB, ctx context.Context, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-ctx.Done():
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// until waits for a condition that has no event.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, tick := within(t, patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// each runs a test with each draft over each transport, which is named by the scheme of its URLs.
func each(t *testing.T, drafts []moqt.Version, schemes []string, test func(t *testing.T, v moqt.Version, scheme string)) {
	for _, v := range drafts {
		t.Run(v.String(), func(t *testing.T) {
			for _, scheme := range schemes {
				t.Run(scheme, func(t *testing.T) { test(t, v, scheme) })
			}
		})
	}
}

// only are sessions of one draft.
func only(v moqt.Version) *moqt.Config { return &moqt.Config{Versions: []moqt.Version{v}} }

// insecure trusts any server.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// server is a relay of ours.
type server struct {
	dir  string
	addr string      // host:port of UDP, else with its scheme
	tls  *tls.Config // trusts it
	stop func()
}

// start runs a relay that listens for a scheme, until stop or the end of the test.
func start(t testing.TB, scheme string, c relay.ServerConfig) *server {
	t.Helper()
	ready, ended := make(chan relay.Started, 1), make(chan error, 1)
	c.Open = true // programs of others publish, without a token
	c.Dir, c.Listen, c.Ready = t.TempDir(), []string{listenAt(t, scheme)}, func(up relay.Started) { ready <- up }
	if testing.Verbose() {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if c.Relay.DrainTimeout == 0 {
		c.Relay.DrainTimeout = 10 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- relay.Run(ctx, c) }()
	s := &server{dir: c.Dir, stop: sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("relay: %v", err)
		}
	})}
	t.Cleanup(s.stop)
	var up relay.Started
	select {
	case up = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the relay ends with %v before it listens", err)
	}
	s.addr = up.Listen[0].String()
	var err error
	if s.tls, err = moqt.PinFingerprint(up.Fingerprint); err != nil {
		t.Fatal(err)
	}
	return s
}

// listenAt is where a relay listens for a scheme.
func listenAt(t testing.TB, scheme string) string {
	switch scheme {
	case "unix":
		return "unix://" + filepath.Join(t.TempDir(), "relay")
	case "tcp", "ws", "wss":
		return scheme + "://127.0.0.1:0"
	}
	return "127.0.0.1:0"
}

// url is how the relay is dialed: of QUIC and WebTransport, which share an address, by the scheme that is asked for.
func (s *server) url(scheme string) string {
	if strings.Contains(s.addr, "://") {
		return s.addr
	}
	return scheme + "://" + s.addr
}

// certificates are those that the relay shows.
func (s *server) certificates(t testing.TB) *keys.Certificates {
	t.Helper()
	c, err := keys.Open(keys.Config{Dir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fingerprint is of the certificate for programs: those of others pin it, as they know no key.
func (s *server) fingerprint(t testing.TB) string {
	t.Helper()
	return keys.OfCertificate(s.certificates(t).Program()).String()
}

// run runs a session until the end of the test.
func run(t testing.TB, s *moqt.Session) *moqt.Session {
	over := make(chan struct{})
	go func() { defer close(over); s.Run(context.Background()) }()
	t.Cleanup(func() { s.Close(wire.NoError, ""); <-over })
	return s
}

// dial makes a session with the relay.
func (s *server) dial(t testing.TB) *moqt.Session {
	t.Helper()
	c, err := moqt.Dial(within(t, patience), s.url("moqt"), s.tls, nil)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, c)
}

// dialPeer dials until a server of others listens.
func dialPeer(t testing.TB, url string, conf *moqt.Config) (c *moqt.Session) {
	t.Helper()
	until(t, url+" to listen", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		c, err = moqt.Dial(ctx, url, insecure(), conf)
		return err == nil
	})
	return run(t, c)
}

// subscribe subscribes to a track as soon as it is there.
func (s *server) subscribe(t testing.TB, name object.TrackName, o moqt.SubscribeOptions) (sub *moqt.Subscription) {
	t.Helper()
	c := s.dial(t)
	var err error
	until(t, name.String(), func() bool {
		sub, err = c.Subscribe(within(t, patience), name, o)
		return err == nil
	})
	return sub
}

// namespace waits until the relay lists a namespace at or below a prefix.
func (s *server) namespace(t testing.TB, prefix object.Namespace) {
	t.Helper()
	list, err := s.dial(t).SubscribeNamespace(within(t, patience), prefix, moqt.SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Next(within(t, patience)); err != nil {
		t.Fatalf("namespace below %q: %v", prefix, err)
	}
}

// stored waits until the relay has groups of a track whole in its store.
func (s *server) stored(t testing.TB, name object.TrackName, groups int) {
	t.Helper()
	until(t, fmt.Sprintf("%d stored groups", groups), func() bool {
		line, err := admin.Call(within(t, patience), s.dir, "store", nil)
		var list relay.Stored
		if err == nil {
			err = json.Unmarshal(line, &list)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, track := range list.Tracks {
			if track.Track == name.String() {
				return track.Whole >= groups
			}
		}
		return false
	})
}

// broadcast is the track that our publisher has.
var broadcast = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}

const parts = 5 // objects of a group before its end

// part is a pure function of its arguments.
func part(group, id uint64) object.Object {
	if id == parts {
		return object.Object{Group: group, ID: id, Status: object.EndOfGroup}
	}
	n := 400 + int(id)
	if id == 2 {
		n = 16000 // forwarded while it arrives, if it does not come at once
	}
	payload := bytes.Repeat(fmt.Appendf(nil, "%d/%d ", group, id), n)
	return object.Object{Group: group, ID: id, Payload: payload,
		Properties: object.Properties{PTS: group, HasPTS: true, Hash: object.Sum(payload), HasHash: true}.Append(nil)}
}

// publication is a track of ours at a relay.
type publication struct {
	*moqt.Publication
	session *moqt.Session
}

func (s *server) publish(t testing.TB, name object.TrackName) publication {
	t.Helper()
	c := s.dial(t)
	p, err := c.Publish(within(t, patience), name, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return publication{p, c}
}

// whole publishes a group.
func (p publication) whole(t testing.TB, group uint64, objects ...object.Object) {
	t.Helper()
	w, err := p.OpenSubgroup(within(t, patience), moqt.SubgroupHeader{Group: group, HasProperties: true})
	for _, o := range objects {
		if err == nil {
			err = w.WriteObject(o.ID, o.Properties, moqt.ObjectStatus(o.Status), o.Payload)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Error(err)
	}
}

// group publishes a group of parts.
func (p publication) group(t testing.TB, id uint64) {
	t.Helper()
	var objects []object.Object
	for i := range uint64(parts + 1) {
		objects = append(objects, part(id, i))
	}
	p.whole(t, id, objects...)
}

// readObject reads the first object of the next group. (MediaMTX leaves the stream of its catalog open.)
func readObject(t testing.TB, sub *moqt.Subscription) (group uint64, payload []byte) {
	t.Helper()
	r, err := sub.AcceptSubgroup(within(t, patience))
	if err != nil {
		t.Fatalf("next group: %v", err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatalf("its object: %v", err)
	}
	if payload, err = io.ReadAll(r); err != nil {
		t.Fatalf("its payload: %v", err)
	}
	return r.Header().Group, payload
}

// readGroup reads the next group to its end.
func readGroup(t testing.TB, sub *moqt.Subscription) (id uint64, objects [][]byte) {
	t.Helper()
	r, err := sub.AcceptSubgroup(within(t, patience))
	if err != nil {
		t.Fatalf("next group: %v", err)
	}
	for {
		o, err := r.Next()
		if err == io.EOF {
			return r.Header().Group, objects
		}
		if err != nil {
			t.Fatalf("group %d after %d objects: %v", r.Header().Group, len(objects), err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if o.Status == wire.StatusNormal {
			objects = append(objects, b)
		}
	}
}
