package tier

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// storer names the store's folder and the server's URL for the process that TestKill9 kills.
const storer = "EC_TIER_STORER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(storer); dir != "" {
		storeForEver(dir)
		return
	}
	os.Exit(m.Run())
}

var killed = object.TrackName{Namespace: object.Namespace{"ec", "x"}, Name: "v"}

// piece is a pure function of its arguments.
func piece(group, id uint64) *object.Object {
	if id == 3 {
		return &object.Object{Group: group, ID: id, Status: object.EndOfGroup}
	}
	payload := bytes.Repeat(fmt.Appendf(nil, "%d/%d ", group, id), 6000)
	return &object.Object{Group: group, ID: id, Payload: payload, Properties: object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)}
}

func openKilled(dir, url string) (*store.Store, error) {
	b, err := Open(Config{URL: url, Credentials: Credentials{Key: "K", Secret: "S"}})
	if err != nil {
		return nil, err
	}
	return store.Open(dir, store.Config{Tier: b})
}

// storeForEver stores groups and moves them, and says on stdout which are stored.
func storeForEver(dir string) {
	s, err := openKilled(dir, os.Getenv("EC_TIER_URL"))
	if err != nil {
		fmt.Println("error", err)
		return
	}
	t := s.Track(killed)
	go func() {
		for {
			s.MoveToTier(context.Background())
			time.Sleep(time.Millisecond)
		}
	}()
	next := uint64(0)
	if sum, ok := t.Summary(); ok {
		next = sum.Last + 1
	}
	for ; ; next++ {
		for id := range uint64(4) {
			if _, err := t.Put(piece(next, id), object.Sum(piece(next, id).Payload)); err != nil {
				fmt.Println("error", err)
				return
			}
		}
		if err := s.Flush(); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println(next)
	}
}

// A relay that is killed at random moments while groups move loses none of them, and what was begun is ended afterwards.
func TestKill9(t *testing.T) {
	server, dir := newS3(t), t.TempDir()
	url := server.URL + "/archive"
	stored := make(map[uint64]bool)
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), storer+"="+dir, "EC_TIER_URL="+url)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(20*time.Millisecond+time.Duration(rand.Int64N(int64(150*time.Millisecond))), func() { cmd.Process.Kill() })
		for s := bufio.NewScanner(out); s.Scan(); {
			g, err := strconv.ParseUint(s.Text(), 10, 64)
			if err != nil {
				t.Errorf("the process says %q", s.Text())
				cmd.Process.Kill()
				break
			}
			stored[g] = true
		}
		cmd.Wait()
		kill.Stop()
	}
	s, err := openKilled(dir, url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := s.Stats()
	if before.TierGroups == 0 || len(stored) == 0 {
		t.Fatalf("nothing moved: %d groups stored, %+v", len(stored), before)
	}
	check := func() {
		t.Helper()
		for g := range stored {
			if n, _, err := s.Track(killed).Verify(g); n != 4 || err != nil {
				t.Errorf("group %d: %d objects, %v", g, n, err)
			}
		}
	}
	check()
	if err := s.MoveToTier(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
	t.Logf("%d kills, %d groups stored, %d had moved, %d have now", rounds, len(stored), before.TierGroups, s.Stats().TierGroups)
	for _, i := range s.Track(killed).Groups(0, object.MaxVarint) {
		if sum, _ := s.Track(killed).Summary(); i.Complete && !i.Tiered && i.Group != sum.Last || i.Damaged {
			t.Errorf("afterwards %+v", i) // others were being stored when it was killed
		}
	}
	if got := s.Stats(); got.LeftOut != 0 {
		t.Errorf("afterwards %+v", got)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.objects) != s.Stats().TierGroups {
		t.Errorf("%d objects in the bucket for %d groups", len(server.objects), s.Stats().TierGroups)
	}
}
