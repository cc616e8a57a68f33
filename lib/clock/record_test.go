package clock

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var someRecords = []Record{
	{UTC: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), PCR: 12345678901, System: ATSC, TSID: 2065, ONID: -1, Program: 3, Name: "WONE \"HD\"\n", Channel: "5.1"},
	{UTC: time.Date(2019, 1, 22, 12, 51, 9, 0, time.UTC), PCR: 0, System: DVB, TSID: 0, ONID: 8442, Program: 0xffff},
	{UTC: time.Date(2026, 11, 23, 2, 0, 1, 0, time.UTC), PCR: SystemWrap - 1, System: DVB, TSID: -1, ONID: -1},
}

func TestRecordIsWhatTheFormatPageShows(t *testing.T) {
	const want = `{"v":1,"utc":"2026-11-23T02:00:00Z","pcr":12345678901,"system":"atsc","tsid":2065,"program":3,"name":"WONE HD","channel":"5.1"}` + "\n"
	r := someRecords[0]
	r.Name = "WONE HD"
	if got := string(r.Append(nil)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	var b []byte
	for _, r := range someRecords {
		b = r.Append(b)
	}
	for name, in := range map[string]io.Reader{"at once": bytes.NewReader(b), "byte by byte": iotest.OneByteReader(bytes.NewReader(b))} {
		rr := NewRecordReader(in)
		for i, want := range someRecords {
			if got, err := rr.Next(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %d: %+v, %v; want %+v", name, i, got, err, want)
			}
		}
		if _, err := rr.Next(); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestRecordReaderGoesOnWhenTheFileGrows(t *testing.T) {
	var file bytes.Buffer
	rr := NewRecordReader(&file)
	line := someRecords[0].Append(nil)
	file.Write(line[:20])
	if _, err := rr.Next(); err != io.EOF {
		t.Fatalf("half a line: %v", err)
	}
	file.Write(line[20:])
	if r, err := rr.Next(); err != nil || r.TSID != 2065 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRecordReaderSkipsWhatIsNoRecord(t *testing.T) {
	good := string(someRecords[1].Append(nil))
	for _, c := range []struct{ name, line string }{
		{"text", "hello"},
		{"another version", `{"v":2,"utc":"2026-11-23T02:00:00Z","pcr":1,"system":"atsc"}`},
		{"no pcr", `{"v":1,"utc":"2026-11-23T02:00:00Z","system":"atsc"}`},
		{"no utc", `{"v":1,"pcr":1,"system":"atsc"}`},
		{"pcr beyond the wrap", `{"v":1,"utc":"2026-11-23T02:00:00Z","pcr":2576980377600,"system":"atsc"}`},
		{"unknown system", `{"v":1,"utc":"2026-11-23T02:00:00Z","pcr":1,"system":"isdb"}`},
		{"tsid of 17 bits", `{"v":1,"utc":"2026-11-23T02:00:00Z","pcr":1,"system":"atsc","tsid":65536}`},
		{"endless line", strings.Repeat("x", 100000)},
	} {
		rr := NewRecordReader(strings.NewReader("\n" + c.line + "\n" + good))
		if _, err := rr.Next(); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", c.name, err)
		}
		if r, err := rr.Next(); err != nil || r.ONID != 8442 {
			t.Errorf("after %s: %+v, %v", c.name, r, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range someRecords {
		f.Add(r.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rr := NewRecordReader(bytes.NewReader(b))
		for range len(b) + 2 {
			r, err := rr.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				continue
			}
			again, err := ParseRecord(bytes.TrimSuffix(r.Append(nil), []byte("\n")))
			if err == nil && (!again.UTC.Equal(r.UTC) || again.PCR != r.PCR || again.TSID != r.TSID) {
				t.Errorf("%+v became %+v", r, again)
			}
		}
		t.Error("more records than bytes")
	})
}
