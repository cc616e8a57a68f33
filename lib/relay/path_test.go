package relay

import (
	"context"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// TestNamespaceOfThePath: a name without a namespace, which draft 18 allows, is looked for below the path the peer dialed.
func TestNamespaceOfThePath(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"/live/cam", "live-cam--0"},
		{"/live//cam/?token=a/b", "live-cam--0"},
		{"/", "--0"},
		{"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6/7", "--0"}, // more fields than a namespace has
	} {
		s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
		ms, err := moqt.Dial(within(t, 10*time.Second), "moqt://"+s.addr+tt.path, s.tls, nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { ms.Run(context.Background()); close(done) }()
		if _, err := ms.TrackStatus(within(t, 10*time.Second), ts); err == nil { // it is a session by now
			t.Fatal("a track that nobody publishes")
		}
		s.mu.Lock()
		for sess := range s.sessions {
			if got := sess.named(object.TrackName{Name: "0"}).String(); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
			}
			if got := sess.named(ts).String(); got != ts.String() {
				t.Errorf("%s: a whole name becomes %s", tt.path, got)
			}
		}
		s.mu.Unlock()
		ms.Close(wire.NoError, "")
		<-done
	}
}
