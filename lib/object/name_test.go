package object

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestWrittenForm(t *testing.T) {
	for _, c := range []struct {
		written string
		name    TrackName
	}{
		{"ec-atsc-2065-3--ts_t07", TrackName{Namespace{"ec", "atsc", "2065", "3"}, "ts_t07"}},
		{"example.2enet-team2-project_x--report", TrackName{Namespace{"example.net", "team2", "project_x"}, "report"}},
		{"a--", TrackName{Namespace{"a"}, ""}},
		{".2d.2d-.00.ff--.2e.2e", TrackName{Namespace{"--", "\x00\xff"}, ".."}},
	} {
		got, err := ParseTrackName(c.written)
		if err != nil || !reflect.DeepEqual(got, c.name) {
			t.Errorf("ParseTrackName(%q) = %#v, %v", c.written, got, err)
		}
		if s := c.name.String(); s != c.written {
			t.Errorf("%#v is written %q, want %q", c.name, s, c.written)
		}
	}
}

func TestWrittenFormIsStrict(t *testing.T) {
	for _, s := range []string{
		"", "--t", "a---t", "-a--t", "a-", "a--b-c", "a--b--c", "a b--t", "a--.", "a--.2", "a--.2E", "a--.61",
		"a/b--t", "ü--t", strings.Repeat("a-", 32) + "a--t", strings.Repeat("a", 4097) + "--t", strings.Repeat("a", 4096) + "--t",
	} {
		if got, err := ParseTrackName(s); !errors.Is(err, ErrName) {
			t.Errorf("ParseTrackName(%.40q) = %v, %v; want ErrName", s, got, err)
		}
	}
}

func TestParseNameWithoutTrack(t *testing.T) {
	n, hasTrack, err := ParseName("ec-atsc-2065-3")
	if err != nil || hasTrack || n.Namespace.String() != "ec-atsc-2065-3" {
		t.Errorf("got %v, %v, %v", n, hasTrack, err)
	}
	if _, err := ParseTrackName("ec-atsc-2065-3"); !errors.Is(err, ErrName) {
		t.Errorf("ParseTrackName takes a namespace alone: %v", err)
	}
	if _, err := ParseNamespace("ec--t"); !errors.Is(err, ErrName) {
		t.Errorf("ParseNamespace takes a track: %v", err)
	}
}

func TestPrefix(t *testing.T) {
	n := Namespace{"ec", "atsc", "2065", "3"}
	for _, c := range []struct {
		p    Namespace
		want bool
	}{
		{nil, true}, {Namespace{"ec"}, true}, {Namespace{"ec", "atsc"}, true}, {n, true},
		{Namespace{"e"}, false}, {Namespace{"ec", "dvb"}, false}, {append(n[:4:4], "x"), false},
	} {
		if got := n.HasPrefix(c.p); got != c.want {
			t.Errorf("HasPrefix(%v) = %v", c.p, got)
		}
	}
	if n.Equal(n[:3]) || !n.Equal(append(Namespace(nil), n...)) {
		t.Error("Equal is wrong")
	}
}

func TestTrackNameJSON(t *testing.T) {
	in := map[string]TrackName{"t": {Namespace{"ec", "x y"}, "ts"}}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"t":"ec-x.20y--ts"}` {
		t.Fatalf("%s, %v", b, err)
	}
	var out map[string]TrackName
	if err := json.Unmarshal(b, &out); err != nil || !reflect.DeepEqual(in, out) {
		t.Fatalf("%v, %v", out, err)
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("ec-atsc-2065-3--ts_t07")
	f.Add("a--.2e")
	f.Fuzz(func(t *testing.T, s string) {
		n, hasTrack, err := ParseName(s)
		if err != nil {
			return
		}
		w := n.String()
		if !hasTrack {
			w = n.Namespace.String()
		}
		if w != s {
			t.Fatalf("%q is read as %#v, which is written %q", s, n, w)
		}
	})
}
