package outage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// number is what an environment variable says, or else a default.
func number(t testing.TB, name string, n int) int {
	if text := os.Getenv(name); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// files returns the sizes of a track's group files in a folder that a process has open. That of a whole group is the largest there is.
func files(dir string, name object.TrackName) map[uint64]int64 {
	list, _ := filepath.Glob(filepath.Join(dir, "groups", name.Namespace.String(), name.Name, "*", "*.eco*"))
	sizes := make(map[uint64]int64, len(list))
	for _, f := range list {
		number, ext, _ := strings.Cut(filepath.Base(f), ".")
		id, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			continue
		}
		if ext == "eco" {
			sizes[id] = math.MaxInt64
		} else if st, err := os.Stat(f); err == nil {
			sizes[id] = max(sizes[id], st.Size())
		}
	}
	return sizes
}

// whole counts the whole groups of the video in a folder.
func whole(dir string) (n int) {
	for _, size := range files(dir, video) {
		if size == math.MaxInt64 {
			n++
		}
	}
	return n
}

// snapshot returns a function that reports whether all that is in a spool now is at the relay, groups without an end too.
func snapshot(relay *process, homes []*process) func() bool {
	tracks := []object.TrackName{video, manifest}
	spooled := func(name object.TrackName) map[uint64]int64 {
		all := make(map[uint64]int64)
		for _, h := range homes {
			for id, size := range files(h.dir, name) {
				all[id] = max(all[id], size)
			}
		}
		return all
	}
	want := map[string]map[uint64]int64{video.String(): spooled(video), manifest.String(): spooled(manifest)}
	return func() bool {
		for _, name := range tracks {
			have, now := files(relay.dir, name), spooled(name)
			for id, size := range want[name.String()] {
				if have[id] < min(size, now[id]) { // a torn tail may have been cut since
					return false
				}
			}
		}
		return true
	}
}

// A relay and two homes with spools are killed at random moments under load. Everything that a home had sent is at the relay in the end,
// and whole. EC_RELAY_KILLS and EC_HOME_KILLS say how often, EC_KILL_MINUTES for how long at most; scripts/crash runs it with many.
func TestKill9(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes half a minute, at a broadcast's own pace; scripts/test runs this without the race detector")
	}
	relayKills, homeKills := number(t, "EC_RELAY_KILLS", 12), number(t, "EC_HOME_KILLS", 6)
	b := &broadcast{size: 4000, every: 40 * time.Millisecond}
	b.begin()
	addr := loopback.Address(t)
	relay := newProcess(t, "relay", addr)
	relay.relay()
	var homes []*process
	for range 2 {
		h := newProcess(t, "publisher", addr)
		h.pin = relay.pin
		h.publisher(b)
		homes = append(homes, h)
	}
	var kills []*process
	for range relayKills {
		kills = append(kills, relay)
	}
	for n := range homeKills {
		kills = append(kills, homes[n%2])
	}
	rand.Shuffle(len(kills), func(i, j int) { kills[i], kills[j] = kills[j], kills[i] })
	var healing []time.Duration
	began, limit := time.Now(), time.Duration(number(t, "EC_KILL_MINUTES", 24*60))*time.Minute
	relayKills, homeKills = 0, 0
	for n, victim := range kills {
		if time.Since(began) > limit {
			t.Logf("the time is over after %d of %d kills", n, len(kills))
			break
		}
		time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond) // any moment is as good
		victim.kill()
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		if victim == relay {
			relay.relay()
			relayKills++
		} else {
			victim.publisher(b)
			homeKills++
		}
		if n%8 == 7 {
			healing = append(healing, wait(t, fmt.Sprintf("what is missing after %d kills", n+1), snapshot(relay, homes)))
		}
	}
	healing = append(healing, wait(t, "what is missing in the end", snapshot(relay, homes)))
	slices.Sort(healing)
	t.Logf("%d kills of the relay, %d of homes: %d groups; healed within %v (median), %v (longest)", relayKills, homeKills,
		whole(relay.dir), healing[len(healing)/2], healing[len(healing)-1])
	for _, h := range homes {
		h.end()
	}
	relay.end()
	compare(t, b, relay.dir, homes[0].dir, homes[1].dir)
}

// compare looks for every object of the spools at the relay.
func compare(t *testing.T, b *broadcast, relay string, spools ...string) {
	t.Helper()
	open := func(dir string) *store.Store {
		st, err := store.Open(dir, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	all := open(relay)
	objects := b.verify(t, all)
	had := 0
	for _, dir := range spools {
		st := open(dir)
		had += b.verify(t, st)
		for _, name := range []object.TrackName{video, manifest} {
			for _, i := range st.Track(name).Groups(0, object.MaxVarint) {
				ids, _, err := st.Track(name).Objects(i.Group)
				if err != nil {
					t.Fatal(err)
				}
				have, _, _ := all.Track(name).Objects(i.Group)
				for _, id := range ids {
					if !slices.Contains(have, id) {
						t.Errorf("%v: object %d/%d was sent and is lost", name, i.Group, id)
					}
				}
			}
		}
	}
	for _, dir := range append(spools, relay) {
		if bad, _ := filepath.Glob(filepath.Join(dir, "groups", "*", "*", "*", "*.damaged")); len(bad) > 0 {
			t.Errorf("damaged: %v", bad)
		}
	}
	t.Logf("%d objects at the relay, %d in the spools", objects, had)
}
