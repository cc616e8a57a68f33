package moqt

import (
	"context"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// pipePair connects two sessions in memory and runs both; below TestOverWebTransport and TestRolesOverQMux over those.
func pipePair(t testing.TB, client, server *Config) (c, s *Session) {
	t.Helper()
	if overWeb(t) {
		return dialedPair(t, "https", client, server)
	}
	return sessionPair(t, client, server)
}

// sessionPair is how pipePair connects; tests of other transports replace it.
var sessionPair = func(t testing.TB, client, server *Config) (c, s *Session) {
	t.Helper()
	a, b := Pipe(PipeOptions{Version: wire.Draft16})
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
	case <-time.After(10 * time.Second):
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
