package moqt

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// draftT is a test that runs with one draft over one transport.
type draftT struct {
	*testing.T
	v    Version
	quic bool
}

// draftOf is the draft of a test; those that do not run with all have draft 16.
func draftOf(t testing.TB) Version {
	if d, ok := t.(*draftT); ok {
		return d.v
	}
	return wire.Draft16
}

// everywhere runs a test with every draft, in memory and over QUIC; inMemory in memory only. Below TestOverWebTransport and
// TestRolesOverQMux both run over those.
func everywhere(t *testing.T, test func(t *draftT)) { onDrafts(t, test, false, true) }

func inMemory(t *testing.T, test func(t *draftT)) { onDrafts(t, test, false) }

// overQUIC runs it over QUIC only.
func overQUIC(t *testing.T, test func(t *draftT)) { onDrafts(t, test, true) }

func onDrafts(t *testing.T, test func(t *draftT), transports ...bool) {
	if overWeb(t) || strings.HasPrefix(t.Name(), "TestRolesOverQMux/") {
		transports = []bool{false}
	}
	for _, v := range wire.Versions() {
		for _, q := range transports {
			name := v.String()
			if q {
				name += " over QUIC"
			}
			t.Run(name, func(t *testing.T) { test(&draftT{t, v, q}) })
		}
	}
}

// pipePair connects two sessions in memory and runs both; below TestOverWebTransport and TestRolesOverQMux over those.
func pipePair(t testing.TB, client, server *Config) (c, s *Session) {
	t.Helper()
	d, _ := t.(*draftT)
	if d != nil {
		only := Config{}
		if client != nil {
			only = *client
		}
		only.Versions = []Version{d.v}
		client = &only
	}
	switch {
	case overWeb(t):
		c, s = dialedPair(t, "https", client, server)
	case d != nil && d.quic:
		c, s = quicPair(t, client, server)
	default:
		c, s = sessionPair(t, client, server)
	}
	if d != nil && (c.Version() != d.v || s.Version() != d.v) {
		t.Fatalf("negotiated %v and %v, want %v", c.Version(), s.Version(), d.v)
	}
	return c, s
}

// sessionPair is how pipePair connects; tests of other transports replace it.
var sessionPair = func(t testing.TB, client, server *Config) (c, s *Session) {
	t.Helper()
	a, b := Pipe(PipeOptions{Version: draftOf(t)})
	c, s = NewClient(a, "relay", "/", client), NewServer(b, server)
	run(t, c)
	run(t, s)
	return c, s
}

func ptr[T any](v T) *T { return &v }

// accepting returns a handler that accepts subscriptions and hands the publications out.
func accepting(info TrackInfo) (handlers, <-chan *Publication) {
	pubs := make(chan *Publication, 16)
	return handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		if p, err := r.Accept(info); err == nil {
			pubs <- p
		}
	}}, pubs
}

func recv[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func done(t testing.TB, ctx context.Context) error {
	t.Helper()
	recv(t, ctx.Done())
	return context.Cause(ctx)
}

func writeObject(t testing.TB, p *Publication, group, id uint64, payload string) {
	t.Helper()
	w, err := p.OpenSubgroup(testContext(t), SubgroupHeader{Group: group})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteObject(id, nil, wire.StatusNormal, []byte(payload)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func readObject(t testing.TB, sub *Subscription) (SubgroupHeader, ObjectHeader, string) {
	t.Helper()
	g, err := sub.AcceptSubgroup(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	o, err := g.Next()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Next(); err != io.EOF {
		t.Fatalf("after the object: %v", err)
	}
	return g.Header(), o, string(b)
}
