package chop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
)

var update = flag.Bool("update", false, "renew the chunks of the page's tests")

// webParts keeps the parts that go out under the broadcast's name.
type webParts struct {
	tracks map[string]bool
	Parts  []webPart `json:"parts"`
	bytes  bytes.Buffer
}

type webPart struct {
	Group  uint64      `json:"group"`
	Object uint64      `json:"object"`
	PTS    uint64      `json:"pts"`
	Size   int         `json:"size"`
	BLAKE3 object.Hash `json:"blake3"`
}

func (w *webParts) WriteObject(t object.TrackName, o *object.Object) error {
	if t.Namespace[1] == "source" || t.Name[:2] != "ts" || o.Status != object.Normal {
		return nil
	}
	p, err := object.ParseProperties(o.Properties)
	if err != nil {
		return err
	}
	w.tracks[t.String()] = true
	w.Parts = append(w.Parts, webPart{o.Group, o.ID, p.PTS, len(o.Payload), object.Sum(o.Payload)})
	w.bytes.Write(o.Payload)
	return nil
}

// TestWebChunks: the chunks that the page's demuxer is tested with are what ec-chop makes of the simulated H.264 channel.
func TestWebChunks(t *testing.T) {
	m, s := mux(t, "5.2")
	w := webParts{tracks: map[string]bool{}}
	if _, err := chop.Run(context.Background(), chop.Config{Source: "here"}, m.Reader(epoch, epoch.Add(8*time.Second), s.Program), &w); err != nil {
		t.Fatal(err)
	}
	if len(w.tracks) != 1 || len(w.Parts) < 20 {
		t.Fatalf("%d parts of %v", len(w.Parts), w.tracks)
	}
	// Two chunks, one after the other.
	first := w.Parts[0].Group
	n, size, groups := 0, 0, 0
	for i, p := range w.Parts {
		if p.Object == 0 {
			if groups++; groups > 2 {
				break
			}
		}
		n, size = i+1, size+p.Size
	}
	w.Parts = w.Parts[:n]
	if last := w.Parts[n-1].Group; last == first {
		t.Fatal("one chunk only")
	}
	list, err := json.MarshalIndent(&w, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"chunks.m2ts": w.bytes.Bytes()[:size], "chunks.json": append(list, '\n')} {
		name = "../../web/testdata/" + name
		if *update {
			if err := os.WriteFile(name, b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		old, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(old, b) {
			t.Errorf("%s is not what this package makes: run go test ./lib/chop -run TestWebChunks -update", name)
		}
	}
}
