package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
)

// TestMediaMTX: MediaMTX gets H.264 over RTSP from ffmpeg and publishes it over MoQ to a relay (it is the server, so a client of
// ours carries its tracks over); a second MediaMTX reads them from the relay and gives them out over RTSP. At the relay and at the
// end every slice is one that ffmpeg sent, in order; at the relay none is missing.
func TestMediaMTX(t *testing.T) {
	binary := foreign.Path(t, "EC_MEDIAMTX", "the path of a mediamtx that speaks draft 18")
	raw, want := encodeH264(t)
	each(t, []moqt.Version{wire.Draft18}, []string{"moqt", "https"}, func(t *testing.T, _ moqt.Version, scheme string) {
		testMediaMTX(t, binary, scheme, raw, want)
	})
}

func testMediaMTX(t *testing.T, program, scheme, raw string, want [][]byte) {
	cam := object.Namespace{"live", "cam"}
	s := start(t, scheme, relay.ServerConfig{Versions: []moqt.Version{wire.Draft18}, Lenient: true})
	source := runMediaMTX(t, program, "")
	play(t, raw, "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+source.rtsp+"/cam")

	url := "moqt://" + source.quic + "/cam"
	if scheme == "https" {
		url = "https://" + source.web + "/cam/moq"
	}
	carry(t, s, url, cam)

	// At the relay.
	sub := s.subscribe(t, object.TrackName{Namespace: cam, Name: "0"}, moqt.SubscribeOptions{})
	frames := map[uint64][]byte{} // they may overtake each other
	var got [][]byte
	for len(got) < 60 {
		g, payload := readObject(t, sub)
		frames[g] = payload
		if len(frames) < 70 {
			continue
		}
		got = got[:0]
		for g := slices.Min(slices.Collect(maps.Keys(frames))); frames[g] != nil; g++ {
			got = append(got, slicesOf(avcc(frames[g]))...)
		}
	}
	checkRun(t, "at the relay", got, want, 0)

	// At the other end.
	transport := map[string]string{"moqt": "quic", "https": "webtransport"}[scheme]
	reader := runMediaMTX(t, program, fmt.Sprintf("  cam:\n    source: moqt://%s/live/cam\n    moqTransport: %s\n    sourceFingerprint: %s\n",
		s.addr, transport, s.fingerprint(t)))
	var out []byte
	var err error
	for ctx := within(t, patience); ; { // until it has the stream
		var log bytes.Buffer
		cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", "rtsp://"+reader.rtsp+"/cam", "-frames:v", "60", "-c", "copy", "-f", "h264", "-")
		cmd.Stderr = &log
		if out, err = cmd.Output(); err == nil && len(out) > 0 {
			break
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("MediaMTX does not serve what it is to read: %v\n%s", err, log.Bytes())
		}
	}
	// As a source MediaMTX keeps no bytes of groups that overtook another (the limit of its reorderer is not set there): it
	// leaves out the frame that was overtaken. How many those are is chance.
	at := slicesOf(annexB(out))
	checkRun(t, "at the reader", at, want, len(at))
}

// carry subscribes to the tracks of a MediaMTX and publishes them at the relay below ns, object by object.
func carry(t *testing.T, s *server, url string, ns object.Namespace) {
	t.Helper()
	var from *moqt.Session
	for ctx := within(t, patience); from == nil; { // until ffmpeg feeds it
		ms, err := moqt.Dial(ctx, url, insecure(), only(wire.Draft18))
		if err != nil {
			t.Fatalf("dial: %v", err)
		}
		done := make(chan struct{})
		go func() { ms.Run(context.Background()); close(done) }()
		leave := func() { ms.Close(wire.NoError, ""); <-done }
		catalog, err := ms.Subscribe(ctx, object.TrackName{Namespace: object.Namespace{"any"}, Name: ".catalog"}, moqt.SubscribeOptions{})
		if err != nil {
			leave()
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("catalog: %v", err)
			}
			continue
		}
		t.Cleanup(leave)
		from = ms
		g, payload := readObject(t, catalog)
		t.Logf("%s speaks %v: catalog %s", url, ms.Version(), payload)
		s.publish(t, object.TrackName{Namespace: ns, Name: ".catalog"}).whole(t, g, object.Object{Payload: payload}, object.Object{ID: 1, Status: object.EndOfGroup})
	}
	video, err := from.Subscribe(within(t, patience), object.TrackName{Namespace: object.Namespace{"any"}, Name: "0"}, moqt.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pub := s.publish(t, object.TrackName{Namespace: ns, Name: "0"})
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			r, err := video.AcceptSubgroup(from.Context())
			if err != nil {
				return
			}
			var objects []object.Object
			for {
				o, err := r.Next()
				if err != nil {
					break
				}
				b, err := io.ReadAll(r)
				if err != nil {
					break
				}
				objects = append(objects, object.Object{ID: o.ID, Status: object.Status(o.Status), Properties: o.Properties, Payload: b})
			}
			pub.whole(t, r.Header().Group, objects...)
		}
	}()
	t.Cleanup(func() { from.Close(wire.NoError, ""); <-over })
}

type mediaMTX struct{ rtsp, quic, web string }

// runMediaMTX runs one until the end of the test; path is YAML below paths.
func runMediaMTX(t *testing.T, program, path string) (m mediaMTX) {
	t.Helper()
	m.rtsp, m.quic, m.web = loopback.Address(t), loopback.Address(t), loopback.Address(t)
	dir := t.TempDir()
	conf := fmt.Sprintf(`rtspTransports: [tcp]
rtspAddress: %s
rtmp: no
hls: no
webrtc: no
srt: no
moq: yes
moqHTTP2Address: %s
moqHTTP3Address: %[2]s
moqQUICAddress: %s
paths:
%s  all_others:
`, m.rtsp, m.web, m.quic, path)
	file := filepath.Join(dir, "mediamtx.yml")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, nil, nil, program, file)
	until(t, "MediaMTX to listen", func() bool {
		c, err := net.Dial("tcp", m.rtsp)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return m
}
