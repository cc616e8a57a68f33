package moqt

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestNamespacePrefix: a subscription gets another prefix. What has it is told (again), what has not is gone, and names that come and
// go later are relative to it.
func TestNamespacePrefix(t *testing.T) {
	ctx := testContext(t)
	announcers := make(chan *NamespaceAnnouncer, 4)
	a, b := Pipe(PipeOptions{Version: wire.Draft18})
	c := NewClient(a, "relay", "/", nil)
	s := NewServer(b, &Config{Handler: handlers{subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) {
		an, err := r.AcceptAny()
		if err != nil {
			t.Error(err)
			return
		}
		for _, ns := range []object.Namespace{{"a", "1"}, {"a", "b", "2"}, {"c", "3"}} {
			if err := an.Add(ns); err != nil {
				t.Error(err)
			}
		}
		announcers <- an
	}}})
	run(t, c)
	run(t, s)
	sub, err := c.SubscribeNamespace(ctx, object.Namespace{"a"}, SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	an := recv(t, announcers)
	events := func(sub *NamespaceSubscription, n int) (list []string) {
		t.Helper()
		for range n {
			ev, err := sub.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			name := ev.Namespace.String()
			if ev.Done {
				name = "-" + name
			}
			list = append(list, name)
		}
		slices.Sort(list)
		return list
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	want(events(sub, 2), "a-1", "a-b-2")
	if err := sub.UpdatePrefix(ctx, object.Namespace{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	want(events(sub, 2), "-a-1", "a-b-2")
	<-an.Updates()
	if p := an.Prefix().String(); p != "a-b" {
		t.Errorf("prefix %s", p)
	}
	if err := errors.Join(an.Add(object.Namespace{"a", "b", "4"}), an.Add(object.Namespace{"c", "5"}), an.Remove(object.Namespace{"a", "b", "2"})); err != nil {
		t.Fatal(err)
	}
	want(events(sub, 2), "-a-b-2", "a-b-4")
	if err := sub.UpdatePrefix(ctx, nil); err != nil { // everything
		t.Fatal(err)
	}
	want(events(sub, 4), "a-1", "a-b-4", "c-3", "c-5")

	// Another subscription of the session is in the way of one prefix, but not of the one it leaves.
	if err := sub.UpdatePrefix(ctx, object.Namespace{"a"}); err != nil {
		t.Fatal(err)
	}
	want(events(sub, 4), "-c-3", "-c-5", "a-1", "a-b-4")
	other, err := c.SubscribeNamespace(ctx, object.Namespace{"c"}, SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(events(other, 1), "c-3")
	if err := other.UpdatePrefix(ctx, object.Namespace{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	var refused *RequestError
	if _, err := other.Next(ctx); !errors.As(err, &refused) || refused.Code != wire.RequestPrefixOverlap {
		t.Errorf("overlap: %v", err)
	}
	if _, err := other.Next(ctx); err != io.EOF {
		t.Errorf("after the refusal: %v", err)
	}
	other, err = c.SubscribeNamespace(ctx, object.Namespace{"c"}, SubscribeNamespaceOptions{}) // its prefix is free again
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // that the handler has told all it has to tell
		recv(t, announcers)
	}
	other.Close()

	// An answer to no update closes the session.
	p := attack18(t, false, nil)
	got := make(chan *NamespaceSubscription, 1)
	go func() {
		sub, err := p.s.SubscribeNamespace(ctx, nil, SubscribeNamespaceOptions{})
		if err != nil {
			t.Error(err)
		}
		got <- sub
	}()
	cs, _ := p.accept()
	cs.send(&wire.RequestOK{})
	cs.send(&wire.RequestOK{})
	var closed *SessionError
	if _, err := recv(t, got).Next(ctx); !errors.As(err, &closed) || closed.Code != wire.ProtocolViolation {
		t.Errorf("an answer too many: %v", err)
	}
}

// TestPrefixOfTracks: the part of a subscription that brings tracks gets the prefix, too.
func TestPrefixOfTracks(t *testing.T) {
	ctx := testContext(t)
	announcers := make(chan *NamespaceAnnouncer, 2)
	a, b := Pipe(PipeOptions{Version: wire.Draft18})
	c := NewClient(a, "relay", "/", nil)
	s := NewServer(b, &Config{Handler: handlers{subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) {
		if an, err := r.AcceptAny(); err == nil {
			an.Add(object.Namespace{"c", "3"})
			announcers <- an
		}
	}}})
	run(t, c)
	run(t, s)
	sub, err := c.SubscribeNamespace(ctx, object.Namespace{"a"}, SubscribeNamespaceOptions{Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.UpdatePrefix(ctx, object.Namespace{"c"}); err != nil {
		t.Fatal(err)
	}
	if ev, err := sub.Next(ctx); err != nil || ev.Done || ev.Namespace.String() != "c-3" {
		t.Errorf("%+v, %v", ev, err)
	}
	for range 2 {
		an := recv(t, announcers)
		<-an.Updates()
		if p := an.Prefix().String(); p != "c" {
			t.Errorf("prefix %s", p)
		}
	}
	sixteen, _ := Pipe(PipeOptions{Version: wire.Draft16})
	if err := (&NamespaceSubscription{s: NewClient(sixteen, "relay", "/", nil)}).UpdatePrefix(ctx, nil); !errors.Is(err, wire.ErrValue) {
		t.Errorf("draft 16: %v", err)
	}
}
