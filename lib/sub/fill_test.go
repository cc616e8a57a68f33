package sub

import (
	"slices"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// Who joins in the middle of a group gets its beginning with the subscription, where the draft has that, without another request. What the
// relay does not fill is fetched.
func TestGroupInProgressIsFilled(t *testing.T) {
	for what, c := range map[string]struct {
		draft   moqt.Version
		refuses bool
		silent  bool
		asked   []string
	}{
		"filled":   {draft: wire.Draft22, asked: []string{"subscribe", "fill"}},
		"refused":  {draft: wire.Draft20, refuses: true, asked: []string{"subscribe", "fill", "fetch"}},
		"silent":   {draft: wire.Draft20, silent: true, asked: []string{"subscribe", "fill", "fetch"}},
		"no fills": {draft: wire.Draft18, asked: []string{"subscribe", "fetch"}},
	} {
		t.Run(what, func(t *testing.T) {
			relay := relaytest.New(t)
			var mu sync.Mutex
			var asked []string
			relay.Refuse = func(what string, _ object.TrackName) (moqt.RequestCode, bool) {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, what)
				return wire.RequestNotSupported, c.refuses && what == "fill"
			}
			relay.Silent = func(moqt.Location) bool {
				mu.Lock()
				defer mu.Unlock()
				return c.silent && asked[len(asked)-1] == "fill"
			}
			want := groups(10, 3)
			relay.Put(name, want[:4+2]...) // the group in progress has two objects
			conf := config(t, relay)
			conf.Versions, conf.To = []moqt.Version{c.draft}, at(12)
			if !c.silent {
				conf.Reorder = time.Minute // would be felt
			}
			rd := start(t, testContext(t), conf)
			rd.until(11, 1)
			relay.Put(name, want[4+2:]...)
			if err := rd.rest(); err != nil {
				t.Fatal(err)
			}
			wantObjects(t, rd.got, want[4:])
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(asked, c.asked) {
				t.Errorf("the relay was asked to %v, want %v", asked, c.asked)
			}
		})
	}
}
