package interop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// handlers answer requests of a peer; those without a function are refused.
type handlers struct {
	moqt.UnimplementedHandler
	subscribe        func(context.Context, *moqt.SubscribeRequest)
	fetch            func(context.Context, *moqt.FetchRequest)
	publishNamespace func(context.Context, *moqt.PublishNamespaceRequest)
}

func (h handlers) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	if h.subscribe == nil {
		h.UnimplementedHandler.Subscribe(ctx, r)
		return
	}
	h.subscribe(ctx, r)
}

func (h handlers) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	if h.fetch == nil {
		h.UnimplementedHandler.Fetch(ctx, r)
		return
	}
	h.fetch(ctx, r)
}

func (h handlers) PublishNamespace(ctx context.Context, r *moqt.PublishNamespaceRequest) {
	if h.publishNamespace == nil {
		h.UnimplementedHandler.PublishNamespace(ctx, r)
		return
	}
	h.publishNamespace(ctx, r)
}

var mlmNamespace = object.Namespace{"cmsf/clear"}

// TestMLMPub: catalog, then video, from a foreign publisher. FETCH is left out: what mlmpub (with
// moqtransport v0.9.0) reads and writes for FETCH under moqt-16 is laid out as in draft 14.
func TestMLMPub(t *testing.T) {
	mlm(t, "mlmpub")
	each(t, []moqt.Version{wire.Draft16}, []string{"moqt", "https"}, subscribeToMLMPub)
}

func subscribeToMLMPub(t *testing.T, _ moqt.Version, scheme string) {
	addr := runMLMPub(t)
	ctx := within(t, time.Minute)
	announced := make(chan object.Namespace, 16)
	c := dialPeer(t, scheme+"://"+addr+"/moq", &moqt.Config{Handler: handlers{publishNamespace: func(_ context.Context, r *moqt.PublishNamespaceRequest) {
		r.Accept()
		announced <- r.Namespace
	}}})
	for ns := await(t, ctx, announced); ns.String() != mlmNamespace.String(); ns = await(t, ctx, announced) {
	}
	catalog := object.TrackName{Namespace: mlmNamespace, Name: "catalog"}
	sub, err := c.Subscribe(ctx, catalog, moqt.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := sub.AcceptSubgroup(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Next(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(g); err != nil || !bytes.Contains(b, []byte(`"tracks"`)) {
		t.Fatalf("catalog %q, %v", b, err)
	}
	g.Cancel(wire.ResetCancelled)
	video := object.TrackName{Namespace: mlmNamespace, Name: "video_400kbps_avc"}
	vs, err := c.Subscribe(ctx, video, moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}})
	if err != nil {
		t.Fatal(err)
	}
	for want := uint64(0); want < 2; want++ {
		g, err := vs.AcceptSubgroup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n, size := 0, 0
		for {
			o, err := g.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("group %d after %d objects: %v", g.Header().Group, n, err)
			}
			b, err := io.ReadAll(g)
			if err != nil || uint64(len(b)) != o.Size {
				t.Fatal(err)
			}
			if o.Size > 0 && !bytes.Equal(b[4:8], []byte("moof")) && !bytes.Equal(b[4:8], []byte("styp")) {
				t.Errorf("object %d begins with %x", o.ID, b[:8])
			}
			n++
			size += len(b)
		}
		t.Logf("group %d: %d objects, %d bytes", g.Header().Group, n, size)
		if n < 20 {
			t.Errorf("%d objects in a group of one second", n)
		}
	}
	if err := vs.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if c.Context().Err() != nil {
		t.Errorf("session ended: %v", context.Cause(c.Context()))
	}
}

// forward serves a session's subscriptions and fetches from another session, object by object.
func forward(upstream *moqt.Session, video *foreign.Tap) handlers {
	return handlers{
		subscribe: func(ctx context.Context, r *moqt.SubscribeRequest) {
			sub, err := upstream.Subscribe(ctx, r.Track, moqt.SubscribeOptions{Filter: r.State.Filter})
			if err != nil {
				r.Reject(wire.RequestDoesNotExist, err.Error())
				return
			}
			defer sub.Unsubscribe()
			p, err := r.Accept(sub.Info())
			for err == nil {
				var g *moqt.SubgroupReader
				if g, err = sub.AcceptSubgroup(ctx); err == nil {
					var tee io.Writer = io.Discard
					if strings.HasPrefix(r.Track.Name, "video") {
						tee = video
					}
					err = forwardGroup(ctx, p, g, tee)
				}
			}
		},
		fetch: func(ctx context.Context, r *moqt.FetchRequest) {
			f, err := upstream.Fetch(ctx, r.Track, r.Start, r.End, moqt.FetchOptions{})
			if err != nil {
				r.Reject(wire.RequestDoesNotExist, err.Error())
				return
			}
			defer f.Cancel()
			info, err := f.Info(ctx)
			if err != nil {
				return
			}
			w, err := r.Accept(info)
			for err == nil {
				var o moqt.FetchObject
				if o, err = f.Next(); err == nil {
					err = w.WriteObjectHeader(o)
				}
				if err == nil {
					_, err = io.Copy(w, f)
				}
			}
			if err == io.EOF {
				w.Close()
			} else if w != nil {
				w.Reset(wire.ResetInternalError)
			}
		},
	}
}

func forwardGroup(ctx context.Context, p *moqt.Publication, g *moqt.SubgroupReader, tee io.Writer) error {
	w, err := p.OpenSubgroup(ctx, g.Header())
	if err != nil {
		g.Cancel(wire.ResetCancelled)
		return err
	}
	for {
		o, err := g.Next()
		if err == io.EOF {
			return w.Close()
		}
		if err == nil {
			if o.Size == 0 {
				err = w.WriteObject(o.ID, o.Properties, o.Status, nil)
			} else if err = w.WriteObjectHeader(o.ID, o.Properties, o.Size); err == nil {
				_, err = io.Copy(io.MultiWriter(tee, w), g)
			}
		}
		if err != nil {
			w.Reset(wire.ResetCancelled)
			return err
		}
	}
}

// TestMLMSub: a foreign subscriber gets a foreign publisher's media through our sessions, on both sides.
func TestMLMSub(t *testing.T) {
	mlm(t, "mlmsub")
	each(t, []moqt.Version{wire.Draft16}, []string{"moqt", "https"}, mlmSubThroughUs)
}

func mlmSubThroughUs(t *testing.T, _ moqt.Version, scheme string) {
	bin, _ := mlm(t, "mlmsub")
	addr := runMLMPub(t)
	up := dialPeer(t, scheme+"://"+addr+"/moq", &moqt.Config{Handler: handlers{publishNamespace: func(_ context.Context, r *moqt.PublishNamespaceRequest) { r.Accept() }}})
	cert, err := moqt.SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	var video foreign.Tap
	l, err := moqt.Listen("127.0.0.1:0", moqt.ServerTLS(cert), &moqt.Config{Handler: forward(up, &video)})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		s, err := l.Accept(context.Background())
		if err == nil {
			run(t, s)
			_, err = s.PublishNamespace(within(t, time.Minute), mlmNamespace)
		}
		accepted <- err
	}()
	dir := t.TempDir()
	out := filepath.Join(dir, "video.mp4")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "-addr", mlmAddress(scheme, l.Addr().String()), "-draft", "16", "-duration", "4", "-catalog-mode", "subscribe", "-videoout", out,
		"-catalogout", filepath.Join(dir, "catalog"), "-qlog", filepath.Join(dir, "qlog"))
	cmd.Dir = dir                  // where it leaves its log
	log, _ := cmd.CombinedOutput() // mlmsub ends with an error when its time is up
	l.Close()
	if err := await(t, within(t, time.Minute), accepted); err != nil && !errors.Is(err, moqt.ErrClosed) {
		t.Error(err)
	}
	b, _ := os.ReadFile(out)
	sent := video.Bytes()
	fragments := bytes.Count(b, []byte("moof"))
	first := bytes.Index(b, sent[:min(64, len(sent))])
	if fragments < 50 || first < 0 || !bytes.HasPrefix(sent, b[first:]) {
		t.Fatalf("%d bytes of video with %d fragments, %d forwarded, media from byte %d\n%s", len(b), fragments, len(sent), first, log[max(0, len(log)-4000):])
	}
	t.Logf("%d bytes of video, %d fragments, equal to what was published", len(b)-first, fragments)
}
