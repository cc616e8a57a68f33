package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestMoqRelaySessions: what we publish through moq-relay of moq-dev arrives at our subscriber byte for byte, and is listed.
// Point EC_MOQ_RELAY at the program.
func TestMoqRelaySessions(t *testing.T) {
	bin := foreign.Path(t, "EC_MOQ_RELAY", "the path of moq-relay")
	each(t, wire.Versions(), []string{"moqt", "unix", "tcp"}, func(t *testing.T, v moqt.Version, scheme string) {
		sessionsThroughMoqRelay(t, bin, v, scheme)
	})
}

func sessionsThroughMoqRelay(t *testing.T, bin string, v moqt.Version, scheme string) {
	addr := loopback.Address(t)
	listen := []string{"--listen", addr, "--listen-tls-generate", "localhost"}
	switch scheme {
	case "unix":
		addr = filepath.Join(t.TempDir(), "s")
		listen = []string{"--listen-unix-bind", addr}
	case "tcp":
		listen = []string{"--listen-tcp-bind", addr}
	}
	addr = scheme + "://" + addr
	foreign.Run(t, nil, nil, bin, append(listen, "--auth-public", "**", "--listen-version", fmt.Sprintf("moq-transport-%d", v))...)
	ctx := within(t, time.Minute)
	track := object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}
	groups := make([][][]byte, 4)
	for g := range groups {
		for o := range 5 {
			groups[g] = append(groups[g], bytes.Repeat(fmt.Appendf(nil, "group %d object %d ", g, o), 2000))
		}
	}
	started := make(chan struct{})
	publisher := dialPeer(t, addr, &moqt.Config{Handler: handlers{subscribe: func(ctx context.Context, r *moqt.SubscribeRequest) {
		if r.Track.String() != track.String() {
			r.Reject(wire.RequestDoesNotExist, "")
			return
		}
		p, err := r.Accept(moqt.TrackInfo{Largest: &moqt.Location{Group: 99}})
		if err != nil {
			return
		}
		<-started
		for g, objects := range groups {
			w, err := p.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: 100 + uint64(g), EndOfGroup: true, HasProperties: true})
			if err != nil {
				t.Error(err)
				return
			}
			for id, b := range objects {
				err = errors.Join(err, w.WriteObject(uint64(id), []byte{0x3c, byte(id)}, wire.StatusNormal, b))
			}
			if g%2 == 1 { // that it ends here follows from the header and FIN; it may be said besides
				err = errors.Join(err, w.WriteObject(uint64(len(objects)), nil, wire.StatusEndOfGroup, nil))
			}
			if err := errors.Join(err, w.Close()); err != nil {
				t.Error(err)
			}
			select { // the relay may skip groups of a live track that come all at once
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
		<-ctx.Done()
	}}})
	if publisher.Version() != v {
		t.Fatalf("negotiated %v", publisher.Version())
	}
	if _, err := publisher.PublishNamespace(ctx, track.Namespace); err != nil {
		t.Fatal(err)
	}

	subscriber := dialPeer(t, addr, nil)
	list, err := subscriber.SubscribeNamespace(ctx, track.Namespace[:1], moqt.SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := list.Next(ctx)
	if err != nil || ev.Done || !slices.Equal(ev.Namespace, track.Namespace) {
		t.Fatalf("listed %+v, %v", ev, err)
	}
	sub, err := subscriber.Subscribe(ctx, track, moqt.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	close(started)
	got := map[uint64]bool{}
	for len(got) < len(groups) {
		g, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			t.Fatalf("after groups %v: %v", got, err)
		}
		n := g.Header().Group - 100
		if n >= uint64(len(groups)) {
			t.Fatalf("group %d", g.Header().Group)
		}
		for id, want := range groups[n] {
			o, err := g.Next()
			if err != nil || o.ID != uint64(id) {
				t.Fatalf("group %d: %+v, %v", n, o, err)
			}
			b, err := io.ReadAll(g)
			if err != nil || !bytes.Equal(b, want) {
				t.Fatalf("group %d object %d: %d bytes, %v", n, id, len(b), err)
			}
		}
		for err = nil; err == nil; { // an end of group may follow
			var o moqt.ObjectHeader
			if o, err = g.Next(); err == nil && o.Status == wire.StatusNormal {
				t.Errorf("object %+v was never published", o)
			}
		}
		if err != io.EOF {
			t.Errorf("group %d ends with %v", n, err)
		}
		got[n] = true
	}
	publisher.Close(wire.NoError, "")
	if ev, err := list.Next(ctx); err != nil || !ev.Done {
		t.Errorf("after the publisher left: %+v, %v", ev, err)
	}
}
