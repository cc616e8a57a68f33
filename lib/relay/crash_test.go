package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// serveForEver is the process that TestKill9 kills.
func serveForEver(dir, addr string) {
	st, err := store.Open(dir, store.Config{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	certs, err := keys.Open(keys.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l, err := moqt.Listen(addr, certs.TLS(), nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready", certs.Pin())
	go st.Run(context.Background())
	New(Config{Store: st}).Serve(context.Background(), l)
}

// The relay is killed while a publisher publishes and a viewer watches. What the viewer saw, and every
// group that was whole, is served afterwards; nothing is torn.
func TestKill9(t *testing.T) {
	dir := t.TempDir()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := udp.LocalAddr().String()
	udp.Close()
	seen := make(map[[2]uint64]bool) // what any viewer ever got
	group := uint64(0)
	for round := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "EC_TEST_RELAY="+dir, "EC_TEST_ADDR="+addr)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var fingerprint string
		if _, err := fmt.Fscanln(out, new(string), &fingerprint); err != nil {
			t.Fatal(err)
		}
		pin, err := moqt.PinFingerprint(fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		s := &server{addr: addr, tls: pin}
		p := s.publisher(t, ts)
		p.group(group)
		var v *viewer
		wait(t, "the track", func() bool { v, err = s.view(t, ts, from(0)); return err == nil })
		v.whole(1)

		var killed atomic.Bool
		after := time.Duration(20+rand.IntN(150)) * time.Millisecond
		time.AfterFunc(after, func() {
			killed.Store(true)
			cmd.Process.Signal(syscall.SIGKILL)
			p.c.Session.Close(wire.NoError, "") // it would wait for the dead
		})
		for !killed.Load() {
			group++
			func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				w, err := p.pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: group, HasProperties: true})
				for id := uint64(0); err == nil && id <= parts; id++ {
					o := part(group, id)
					err = w.WriteObject(id, o.Properties, moqt.ObjectStatus(o.Status), o.Payload)
				}
				if err == nil {
					w.Close()
				}
			}()
		}
		group++
		cmd.Wait()
		p.c.leave()
		v.c.leave()
		v.wg.Wait()
		for g, r := range v.got {
			for _, id := range r.ids {
				seen[[2]uint64{g, id}] = true
			}
		}

		again := start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
		got := again.fetchAll(t, ts, moqt.Location{}) // compares every object
		for k := range seen {
			if k[1] < parts && !slices.Contains(got[k[0]], k[1]) {
				t.Fatalf("round %d: object %v was served and is gone", round, k)
			}
		}
		complete := 0
		for _, i := range again.store.Track(ts).Groups(0, 1<<62) {
			if i.Complete {
				complete++
				if !slices.Equal(got[i.Group], allIDs[:parts]) {
					t.Fatalf("round %d: whole group %d is served as %v", round, i.Group, got[i.Group])
				}
			}
		}
		t.Logf("round %d: killed after %v; %d groups served, %d whole", round, after, len(got), complete)
		again.stop()
	}
	if len(seen) == 0 {
		t.Fatal("no viewer saw anything")
	}
}
