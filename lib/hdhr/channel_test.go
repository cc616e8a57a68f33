package hdhr

import (
	"encoding/json"
	"testing"
)

func TestChannelIsReadLeniently(t *testing.T) {
	for _, c := range []struct {
		name, in string
		check    func(Channel) bool
	}{
		{"numbers", `{"GuideNumber":"5.1","HD":1,"TransportStreamID":2065,"ProgramNumber":3,"Frequency":533000000}`,
			func(c Channel) bool {
				return c.Number == "5.1" && c.HD && c.TSID == 2065 && c.Program == 3 && c.Frequency == 533e6
			}},
		{"strings", `{"GuideNumber":"5.1","HD":"1","TransportStreamID":"2065","ProgramNumber":"0x3","SignalQuality":"88"}`,
			func(c Channel) bool { return c.HD && c.TSID == 2065 && c.Program == 3 && c.SignalQuality == 88 }},
		{"booleans", `{"GuideNumber":"5.1","DRM":true,"Favorite":false}`, func(c Channel) bool { return c.DRM && !c.Favorite }},
		{"number of the channel as a number", `{"GuideNumber":5.1}`, func(c Channel) bool { return c.Number == "5.1" }},
		{"tuning not asked for", `{"GuideNumber":"5"}`, func(c Channel) bool { return c.TSID == -1 && c.ONID == -1 && c.Program == 0 }},
		{"unknown field kept", `{"GuideNumber":"5","Tags":["x"]}`, func(c Channel) bool { return string(c.Unknown["Tags"]) == `["x"]` }},
		{"known field of another kind kept", `{"GuideNumber":"5","HD":{}}`, func(c Channel) bool { return !c.HD && string(c.Unknown["HD"]) == `{}` }},
		{"number too large kept", `{"GuideNumber":"5","Frequency":1e300}`, func(c Channel) bool { return c.Frequency == 0 && len(c.Unknown) == 1 }},
		{"null", `{"GuideNumber":"5","GuideName":null}`, func(c Channel) bool { return c.Name == "" }},
	} {
		var ch Channel
		if err := json.Unmarshal([]byte(c.in), &ch); err != nil || !c.check(ch) {
			t.Errorf("%s: %+v, %v", c.name, ch, err)
		}
	}
}

func TestLineupSkipsWhatItCanNotRead(t *testing.T) {
	cs, skipped, err := ParseLineup([]byte(`[{"GuideNumber":"5.1","URL":"u"},17,null,{},{"URL":"only"}]`))
	if err != nil || len(cs) != 2 || skipped != 3 {
		t.Errorf("%d channels, %d skipped, %v", len(cs), skipped, err)
	}
	if _, _, err := ParseLineup([]byte(`{"a":1}`)); err == nil {
		t.Error("an object is no lineup")
	}
}

func TestProtected(t *testing.T) {
	for _, c := range []struct {
		c    Channel
		want bool
	}{
		{Channel{VideoCodec: "MPEG2", AudioCodec: "AC3"}, false},
		{Channel{DRM: true}, true},
		{Channel{AudioCodec: "AC4"}, true},
		{Channel{ATSC3: true, VideoCodec: "HEVC"}, true},
	} {
		if why, got := c.c.Protected(); got != c.want || got == (why == "") {
			t.Errorf("%+v: %v %q", c.c, got, why)
		}
	}
}

func FuzzLineup(f *testing.F) {
	f.Add([]byte(`[{"GuideNumber":"5.1","HD":"1","Frequency":1.5,"X":[1]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		cs, _, err := ParseLineup(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(cs)
		if err != nil {
			t.Fatal(err)
		}
		cs2, skipped, err := ParseLineup(again)
		if err != nil || skipped != 0 || len(cs2) != len(cs) {
			t.Errorf("%d became %d, %d skipped: %v", len(cs), len(cs2), skipped, err)
		}
	})
}
