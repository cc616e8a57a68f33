package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
)

// mlm is a checkout of Eyevinn/moqlivemock in whose root its programs were built. They speak draft 16.
func mlm(t *testing.T, program string) (bin, root string) {
	root = foreign.Path(t, "EC_MLM", "a checkout of moqlivemock with mlmpub, mlmsub and mlmtest built in its root")
	return filepath.Join(root, program), root
}

// TestMLMUpstream: mlmpub, a server, is the upstream of a relay, and what is read from the relay is what mlmpub gives out itself.
func TestMLMUpstream(t *testing.T) {
	mlm(t, "mlmpub")
	each(t, []moqt.Version{wire.Draft16}, []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		s, url := behindMLMPub(t, v, scheme, false)
		next := moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}}
		theirs, err := dialPeer(t, url, only(v)).Subscribe(within(t, patience), mlmVideo, next)
		if err != nil {
			t.Fatal(err)
		}
		ours := s.subscribe(t, mlmVideo, next)
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

var mlmVideo = object.TrackName{Namespace: mlmNamespace, Name: "video_400kbps_avc"}

// behindMLMPub runs a relay whose upstream is mlmpub, and knows what it has.
func behindMLMPub(t *testing.T, v moqt.Version, scheme string, lenient bool) (s *server, upstream string) {
	t.Helper()
	upstream = scheme + "://" + runMLMPub(t) + "/moq"
	conf := relay.ServerConfig{Versions: []moqt.Version{v}, Lenient: lenient}
	conf.Relay.Upstreams = []relay.Upstream{{Relay: upstream, TLS: insecure(), Session: *only(v)}}
	s = start(t, scheme, conf)
	s.namespace(t, mlmNamespace)
	return s, upstream
}

// mlmAddress is how mlmsub is told of a server.
func mlmAddress(scheme, addr string) string {
	if scheme == "https" {
		return "https://" + addr
	}
	return addr
}

// TestMLMThroughRelay: mlmsub plays from a relay whose upstream is mlmpub, and what it writes is what comes from the relay.
func TestMLMThroughRelay(t *testing.T) {
	bin, _ := mlm(t, "mlmsub")
	each(t, []moqt.Version{wire.Draft16}, []string{"moqt", "https"}, func(t *testing.T, v moqt.Version, scheme string) {
		s, _ := behindMLMPub(t, v, scheme, true)
		ours := s.subscribe(t, mlmVideo, moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}})
		_, objects := readGroup(t, ours)
		sent := bytes.Join(objects, nil) // from before mlmsub came

		dir := t.TempDir()
		out := filepath.Join(dir, "video.mp4")
		cmd := exec.CommandContext(within(t, 8*time.Second), bin, "-addr", mlmAddress(scheme, s.addr), "-draft", "16", "-duration", "5", "-catalog-mode", "subscribe",
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

// runMLMPub runs mlmpub until the end of the test and returns its address.
func runMLMPub(t *testing.T) string {
	t.Helper()
	bin, root := mlm(t, "mlmpub")
	cert, key := pemFiles(t)
	addr := loopback.Address(t)
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
	each(t, []moqt.Version{wire.Draft16}, []string{"moqt", "https"}, func(t *testing.T, _ moqt.Version, scheme string) {
		path := map[string]string{"https": "/moq"}[scheme]
		for _, name := range []string{"setup-only", "announce-only", "publish-namespace-done", "subscribe-error", "announce-subscribe", "subscribe-before-announce"} {
			t.Run(name, func(t *testing.T) {
				s := start(t, scheme, relay.ServerConfig{})
				cmd := exec.CommandContext(within(t, patience), bin, "-r", s.url(scheme)+path, "-draft", "16", "--tls-disable-verify", "-t", name)
				cmd.Dir = t.TempDir()
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "\nok 1 - "+name) {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
}
