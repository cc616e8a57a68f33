package clock

import (
	"errors"
	"testing"
	"time"
)

func TestRecord(t *testing.T) {
	want := Record{time.Date(2026, 3, 14, 15, 9, 26, 500_000_000, time.UTC), 27_000_000, "dvb", 8468, 1041, 28006, "Eins"}
	line := string(want.Append(nil))
	if golden := `{"v":1,"utc":"2026-03-14T15:09:26.5Z","pcr":27000000,"system":"dvb","onid":8468,"tsid":1041,"program":28006,"name":"Eins"}` + "\n"; line != golden {
		t.Errorf("got %s", line)
	}
	got, err := ParseRecord([]byte(line))
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{", "[]", `{"v":2,"utc":"2026-03-14T15:09:26Z"}`, `{"v":1}`, `{"v":1,"utc":"2026-03-14T15:09:26Z","pcr":2576980377600}`,
		`{"v":1,"utc":"2026-03-14T15:09:26Z","pcr":-1}`, `{"v":1,"utc":"2026-03-14T15:09:26Z","system":"isdb"}`} {
		if _, err := ParseRecord([]byte(bad)); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"v":1,"utc":"2026-03-14T15:09:26.5Z","pcr":27000000,"system":"dvb","onid":8468}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		if back, err := ParseRecord(r.Append(nil)); err != nil || !back.UTC.Equal(r.UTC) || back.PCR != r.PCR {
			t.Fatalf("%+v came back as %+v, %v", r, back, err)
		}
	})
}
