package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// mlm is a checkout of Eyevinn/moqlivemock in whose root its programs were built. They speak draft 16.
func mlm(t *testing.T, program string) (bin, root string) {
	root = foreign.Path(t, "EC_MLM", "a checkout of moqlivemock with mlmpub, mlmsub and mlmtest built in its root")
	return filepath.Join(root, program), root
}

// TestMLMUpstream: mlmpub, a server, is the upstream of a relay, and what is read from the relay is what mlmpub gives out itself.
func TestMLMUpstream(t *testing.T) {
	for _, scheme := range []string{"moqt", "https"} {
		t.Run(scheme, func(t *testing.T) {
			conf := moqt.Config{Versions: []moqt.Version{wire.Draft16}}
			trust := &tls.Config{InsecureSkipVerify: true}
			url := scheme + "://" + runMLMPub(t) + "/moq"
			s := startWith(t, t.TempDir(), "127.0.0.1:0", Config{Upstreams: []Upstream{{Relay: url, TLS: trust, Session: conf}}}, store.Config{}, &conf)
			video := object.TrackName{Namespace: object.Namespace{"cmsf/clear"}, Name: "video_400kbps_avc"}
			wait(t, "mlmpub's namespace", func() bool { _, ok := s.namespaces()[video.Namespace.String()]; return ok })

			direct, err := moqt.Dial(within(t, browserTimeout), url, trust, &conf)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { defer close(done); direct.Run(context.Background()) }()
			t.Cleanup(func() { direct.Close(wire.NoError, ""); <-done })
			next := moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}}
			theirs, err := direct.Subscribe(within(t, browserTimeout), video, next)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := s.dial(t, nil).Subscribe(within(t, browserTimeout), video, next)
			if err != nil {
				t.Fatal(err)
			}
			from, through := map[uint64][][]byte{}, map[uint64][][]byte{}
			for equal := 0; equal < 3; {
				for groups, sub := range map[*map[uint64][][]byte]*moqt.Subscription{&from: theirs, &through: ours} {
					id, objects := readGroup(t, sub)
					(*groups)[id] = objects
				}
				equal = 0
				for id, want := range from {
					got, ok := through[id]
					switch {
					case ok && (len(want) < 20 || !slices.EqualFunc(got, want, bytes.Equal)):
						t.Fatalf("group %d: %d objects through the relay are not the %d of mlmpub", id, len(got), len(want))
					case ok:
						equal++
					}
				}
			}
		})
	}
}

// TestMLMThroughRelay: mlmsub plays from a relay whose upstream is mlmpub, and what it writes is what comes from the relay.
func TestMLMThroughRelay(t *testing.T) {
	for scheme, prefix := range map[string]string{"moqt": "", "https": "https://"} {
		t.Run(scheme, func(t *testing.T) {
			bin, _ := mlm(t, "mlmsub")
			conf := moqt.Config{Versions: []moqt.Version{wire.Draft16}}
			up := Upstream{Relay: scheme + "://" + runMLMPub(t) + "/moq", TLS: &tls.Config{InsecureSkipVerify: true}, Session: conf}
			s := startWith(t, t.TempDir(), "127.0.0.1:0", Config{Upstreams: []Upstream{up}, Lenient: true}, store.Config{}, &conf)
			video := object.TrackName{Namespace: object.Namespace{"cmsf/clear"}, Name: "video_400kbps_avc"}
			wait(t, "mlmpub's namespace", func() bool { _, ok := s.namespaces()[video.Namespace.String()]; return ok })
			ours, err := s.dial(t, nil).Subscribe(within(t, browserTimeout), video, moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}})
			if err != nil {
				t.Fatal(err)
			}
			_, objects := readGroup(t, ours)
			sent := bytes.Join(objects, nil) // from before mlmsub came

			dir := t.TempDir()
			out := filepath.Join(dir, "video.mp4")
			cmd := exec.CommandContext(within(t, 8*time.Second), bin, "-addr", prefix+s.addr, "-draft", "16", "-duration", "5", "-catalog-mode", "subscribe",
				"-videoout", out, "-catalogout", filepath.Join(dir, "catalog"), "-qlog", filepath.Join(dir, "qlog"))
			cmd.Dir = dir                  // where it leaves its log
			log, _ := cmd.CombinedOutput() // mlmsub does not end by itself
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			media := got[max(bytes.Index(got, []byte("moof"))-4, 0):] // behind the initialization, which the catalog has
			fragments := bytes.Count(media, []byte("moof"))
			if fragments < 50 {
				t.Fatalf("%d bytes of video with %d fragments\n%s", len(got), fragments, log)
			}
			for {
				_, objects := readGroup(t, ours)
				sent = append(sent, bytes.Join(objects, nil)...)
				first := bytes.Index(sent, media[:64])
				if first < 0 {
					t.Fatalf("what mlmsub wrote did not come to the relay\n%s", log)
				}
				if n := len(sent) - first; n >= len(media) {
					if !bytes.HasPrefix(sent[first:], media) {
						t.Fatalf("%d fragments are not those that came to the relay\n%s", fragments, log)
					}
					break
				}
			}
			t.Logf("%d fragments, equal to those that came to the relay", fragments)
		})
	}
}

// readGroup reads a group to its end.
func readGroup(t *testing.T, sub *moqt.Subscription) (id uint64, objects [][]byte) {
	t.Helper()
	r, err := sub.AcceptSubgroup(within(t, browserTimeout))
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

// runMLMPub runs mlmpub until the end of the test and returns its address.
func runMLMPub(t *testing.T) string {
	t.Helper()
	bin, root := mlm(t, "mlmpub")
	cert, key := pemFiles(t)
	addr := foreign.Address(t)
	foreign.Run(t, nil, nil, bin, "-addr", addr, "-cert", cert, "-key", key, "-asset", filepath.Join(root, "assets", "test10s"))
	return addr
}

// pemFiles are a certificate and its key, a file for each.
func pemFiles(t *testing.T) (cert, key string) {
	t.Helper()
	c, err := moqt.SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return foreign.PEM(t, c)
}

// TestMLMCases: the six cases of moq-interop-runner, as mlmtest has them.
func TestMLMCases(t *testing.T) {
	bin, _ := mlm(t, "mlmtest")
	for scheme, path := range map[string]string{"moqt": "", "https": "/moq"} {
		for _, name := range []string{"setup-only", "announce-only", "publish-namespace-done", "subscribe-error", "announce-subscribe", "subscribe-before-announce"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
				cmd := exec.CommandContext(within(t, browserTimeout), bin, "-r", scheme+"://"+s.addr+path, "-draft", "16", "--tls-disable-verify", "-t", name)
				cmd.Dir = t.TempDir()
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "\nok 1 - "+name) {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}
