package pub

import (
	"context"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// What was not sent stays as long as there is room, however long the relay is away; what was sent goes when it is old.
func TestUnsentStaysWhileThereIsRoom(t *testing.T) {
	s := newSpool(1, 30*time.Second, 10<<20, false, discard)
	began := time.Unix(1e9, 0)
	now := began
	for _, o := range groups(10, 65) {
		now = now.Add(time.Second) // four records are two seconds of media, so the input is live
		if err := s.add(context.Background(), &object.Track{Name: name}, &o, now); err != nil {
			t.Fatal(err)
		}
	}
	tr := s.tracks[name.String()]
	if s.Dropped > 0 || len(tr.groups) != 65 {
		t.Fatalf("%d groups are left, %d dropped, after %v without a relay", len(tr.groups), s.Dropped, now.Sub(began))
	}
	for _, g := range tr.groups {
		s.wasSent(g, 0)
	}
	o := groups(75, 1)[0]
	if err := s.add(context.Background(), &object.Track{Name: name}, &o, now); err != nil {
		t.Fatal(err)
	}
	if left := len(tr.groups); left > 10 || s.Dropped > 0 {
		t.Errorf("%d groups are left that were sent, %d dropped", left, s.Dropped)
	}
}

// What was sent shortly before a loss may not have arrived: it does not leave memory before it is sent again.
func TestSentBeforeTheLossStays(t *testing.T) {
	s := newSpool(1, 30*time.Second, 10<<20, false, discard)
	now := time.Unix(1e9, 0)
	add := func(list []object.Object) {
		for _, o := range list {
			now = now.Add(time.Second)
			if err := s.add(context.Background(), &object.Track{Name: name}, &o, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(groups(10, 5))
	tr := s.tracks[name.String()]
	for i, g := range tr.groups {
		s.wasSent(g, 0)
		if i < 2 {
			g.sentAt[0] = time.Now().Add(-time.Minute)
		}
	}
	s.lost(0)
	add(groups(15, 30))
	if first := tr.groups[0].id; first != 12 || s.Dropped > 0 {
		t.Errorf("the first group left is %d, want 12; %d dropped", first, s.Dropped)
	}
}

// A relay may ask for a list as soon as the session is there, before anything of the session has begun here.
func TestListAtOnce(t *testing.T) {
	s := newSpool(1, time.Hour, 1<<30, true, discard)
	u := newUploader(Config{Log: discard}, s, 0, "moqt://127.0.0.1:1")
	if u.asked == nil || u.where == nil {
		t.Error("what a relay asks at once has no place")
	}
	if b := u.groupsOf(object.TrackName{Name: "invented"}, 0, object.MaxVarint); b != nil || len(u.asked) > 0 {
		t.Errorf("a relay that asks for %d tracks that are not here is remembered", len(u.asked))
	}
}
