package probe

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sim"
)

// pictures runs a view of what write writes, and returns all pictures.
func pictures(t *testing.T, write func(w io.Writer)) (list []string) {
	t.Helper()
	var out bytes.Buffer
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Run(t.Context(), Config{Top: func(p string) error { list = append(list, p); return nil }}, r, &out)
	}()
	write(w)
	w.Close()
	if err := <-done; err != nil || out.Len() > 0 {
		t.Errorf("%v, %s", err, out.String())
	}
	return list
}

// A view of a transport stream has the rates of the last second and the errors of all, and goes on while nothing comes.
func TestTopTS(t *testing.T) {
	data := minute(t)
	damaged, err := io.ReadAll(sim.Impair{Seed: 5, Loss: 0.01}.Reader(bytes.NewReader(data[:len(data)/2/188*188])))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		list := pictures(t, func(w io.Writer) {
			w.Write(data[:len(data)/2/188*188])
			synctest.Wait()
			time.Sleep(1500 * time.Millisecond)
			w.Write(damaged)
			time.Sleep(2 * time.Second)
		})
		if len(list) != 4 {
			t.Fatalf("%d pictures", len(list))
		}
		for _, want := range []string{"2026-03-14 15:20:", "TR 101 290: no errors", "program 3     5.1", "mpeg2video", "0x1ffb  PSIP", "kbit/s"} {
			if !strings.Contains(list[0], want) {
				t.Errorf("no %q in\n%s", want, list[0])
			}
		}
		if !strings.Contains(list[1], "Continuity_count_error") || !strings.Contains(list[1], "new)") {
			t.Errorf("damage does not show:\n%s", list[1])
		}
		if last := list[2]; !strings.Contains(last, "  0 bit/s  ") || strings.Contains(last, "new)") || !strings.Contains(last, "Continuity_count_error") {
			t.Errorf("while nothing comes:\n%s", last)
		}
	})
}

// A view of an object stream has tracks, damage, health, and how late chunks whose time is told come.
func TestTopObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := object.Namespace{"ec", "source", "home", "3"}
		media := object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t13"}
		list := pictures(t, func(w io.Writer) {
			ow := object.NewWriter(w)
			put := func(name string, payload []byte, err error) {
				if err == nil {
					err = ow.WriteObject(object.TrackName{Namespace: home, Name: name}, &object.Object{Group: 1, Payload: payload})
				}
				if err != nil {
					t.Error(err)
				}
			}
			chunk := []byte(strings.Repeat("x", 1000))
			put(catalog.TrackCatalog, []byte(`{"version":"draft-01","tracks":[]}`), nil)
			sum := object.Sum(chunk)
			ow.WriteObject(media, &object.Object{Group: 7, Payload: chunk, Properties: object.Properties{Hash: sum, HasHash: true}.Append(nil)})
			ow.WriteObject(media, &object.Object{Group: 7, ID: 1, Status: object.EndOfGroup})
			utc := catalog.TimeOf(time.Now().Add(-2500 * time.Millisecond))
			b, err := catalog.ManifestEntry{Group: 7, Track: media, Scope: catalog.ScopeBroadcast, Objects: 1, Bytes: 1000,
				Hash: catalog.HashParts([]object.Hash{sum}), UTC: &utc, Damage: &catalog.Damage{TEI: 1}}.Append(nil)
			put(catalog.TrackManifest, b, err)
			h := catalog.Health{Lost: 5}
			b, err = h.Append(nil)
			put(catalog.TrackHealth, b, err)
			time.Sleep(1200 * time.Millisecond)
		})
		if len(list) != 2 {
			t.Fatalf("%d pictures", len(list))
		}
		for _, want := range []string{"ec-atsc-2065-3--ts_t13                              1         1              -              7      0      1     2.5 s", "lost packets 5", "health of ec-source-home-3:"} {
			if !strings.Contains(list[0], want) {
				t.Errorf("no %q in\n%s", want, list[0])
			}
		}
	})
}

// A view that cannot be shown ends the run.
func TestTopFails(t *testing.T) {
	gone := errors.New("gone")
	err := Run(t.Context(), Config{Top: func(string) error { return gone }}, bytes.NewReader(minute(t)), io.Discard)
	if !errors.Is(err, gone) {
		t.Error(err)
	}
}
