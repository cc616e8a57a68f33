package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// peerFrame is what the programs peer.py in testdata publish.
func peerFrame(group, frame uint64) []byte {
	h := sha256.Sum256(fmt.Appendf(nil, "%d/%d", group, frame))
	return bytes.Repeat(h[:], 1000+int(frame))
}

// groupOf is what they tell of a group.
type groupOf struct {
	Group  uint64
	Frames []string // SHA-256
}

// peerFrames: a library publishes through a relay to itself and to us, and gets what we publish, byte for byte. start runs its peer.py
// in a role.
func (s *server) peerFrames(t *testing.T, start func(role string, track object.TrackName) *exec.Cmd) {
	peer := func(role string, track object.TrackName) <-chan groupOf { return groupsOf(t, role, start(role, track)) }
	theirs := object.TrackName{Namespace: object.Namespace{"theirs", "live"}, Name: "frames"}
	peer("publish", theirs)

	// What it publishes, through the relay to itself: no session with another draft is possible.
	check := func(who string, groups <-chan groupOf, frames uint64, payload func(group, frame uint64) []byte, next func() (group uint64)) {
		t.Helper()
		newest := next()
		for got, ctx := 0, within(t, patience); got < 5; {
			select {
			case g := <-groups:
				var want []string
				for i := range frames {
					want = append(want, fmt.Sprintf("%x", sha256.Sum256(payload(g.Group, i))))
				}
				n := len(g.Frames)
				if n > len(want) || !slices.Equal(g.Frames, want[:n]) {
					t.Fatalf("%s: group %d is %v, want %v", who, g.Group, g.Frames, want)
				}
				if n == len(want) {
					got++
				} else { // it leaves a group that it has not read to its end when the next one begins
					t.Logf("%s: %d frames of group %d", who, n, g.Group)
				}
				if g.Group == newest { // not before, so that it need not leave a group
					newest = next()
				}
			case <-time.After(2 * time.Second): // it may have joined at what is published from now on
				newest = next()
			case <-ctx.Done():
				t.Fatalf("%s: %d groups came", who, got)
			}
		}
	}
	check("theirs to theirs", peer("subscribe", theirs), 5, peerFrame, func() uint64 { return 0 })

	// To us.
	sub := s.subscribe(t, theirs, moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterNextGroupStart}})
	for range 5 {
		r, err := sub.AcceptSubgroup(within(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(5) {
			o, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(r); err != nil || o.ID != i || !bytes.Equal(b, peerFrame(r.Header().Group, i)) {
				t.Fatalf("group %d object %d: %v, not what was published", r.Header().Group, o.ID, err)
			}
		}
		if o, err := r.Next(); err != io.EOF && (err != nil || o.Status != wire.StatusEndOfGroup) {
			t.Fatalf("after the last object of group %d: %+v, %v", r.Header().Group, o, err)
		}
	}

	// Ours, to it.
	p := s.publish(t, broadcast)
	if _, err := p.session.PublishNamespace(within(t, patience), broadcast.Namespace); err != nil { // it waits for that
		t.Fatal(err)
	}
	id := uint64(0)
	check("ours to theirs", peer("subscribe", broadcast), parts, func(g, i uint64) []byte { return part(g, i).Payload }, func() uint64 {
		id++
		p.group(t, id)
		return id
	})
}

// groupsOf runs peer.py until the end of the test; the channel has the groups it gets.
func groupsOf(t *testing.T, role string, cmd *exec.Cmd) <-chan groupOf {
	t.Helper()
	var log bytes.Buffer
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	groups, over := make(chan groupOf, 1000), make(chan struct{})
	go func() {
		defer close(over)
		for d := json.NewDecoder(out); ; {
			var g groupOf
			if d.Decode(&g) != nil {
				io.Copy(io.Discard, out)
				return
			}
			select {
			case groups <- g:
			default: // nobody is interested any more
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		<-over
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%s: %v\n%s", role, err, log.Bytes())
		}
		kill.Stop()
	})
	return groups
}
