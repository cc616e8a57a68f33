package chop

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestInspect(t *testing.T) {
	const (
		aud   = "0000000109f0"
		sps   = "0000000167640028ac"
		idr   = "0000000165b80400"
		slice = "00000001419a02"
		sei   = "00000106"
	)
	for _, c := range []struct {
		name  string
		codec codec
		es    string
		rai   bool
		last  bool
		want  verdict
	}{
		{"MPEG-2 sequence header and I picture", codecMPEG2, "000001b3140f0013 000001b5148200 00000100000ffff8", false, false, isRAP},
		{"MPEG-2 sequence header and P picture", codecMPEG2, "000001b3140f0013 0000010000170000", true, false, notRAP},
		{"MPEG-2 I picture without sequence header", codecMPEG2, "00000100000ffff8", true, false, notRAP},
		{"MPEG-2 sequence header, more to come", codecMPEG2, "000001b3140f0013", false, false, undecided},
		{"MPEG-2 picture header cut", codecMPEG2, "000001b3140f0013 0000010000", false, false, undecided},
		{"H.264 SPS", codecH264, aud + sps, false, false, isRAP},
		{"H.264 IDR without SPS", codecH264, aud + idr, false, false, isRAP},
		{"H.264 slice, flagged as random access", codecH264, aud + slice, true, false, notRAP},
		{"H.264 recovery point", codecH264, aud + sei + "0601c480" + slice, false, false, isRAP},
		{"H.264 timing, then recovery point", codecH264, aud + sei + "010200000601c480" + slice, false, false, isRAP},
		{"H.264 timing only", codecH264, aud + sei + "0102000080" + slice, true, false, notRAP},
		{"H.264 long SEI, cut", codecH264, aud + sei + "04ffff20", false, false, undecided},
		{"H.264 nothing yet", codecH264, aud, true, false, undecided},
		{"H.264 nothing at all, flagged", codecH264, aud, true, true, isRAP},
		{"H.264 nothing at all", codecH264, aud, false, true, notRAP},
		{"HEVC VPS", codecHEVC, "0000000146015000000001400c", false, false, isRAP},
		{"HEVC CRA", codecHEVC, "00000001460150000000012a01", false, false, isRAP},
		{"HEVC trailing picture", codecHEVC, "00000001460150000000010201", true, false, notRAP},
		{"unknown codec, flagged", codecOther, "00", true, false, isRAP},
		{"unknown codec", codecOther, "00", false, false, notRAP},
		{"audio", codecAudio, "", false, false, isRAP},
		{"start code at the very end", codecH264, "000001", false, false, undecided},
	} {
		es, err := hex.DecodeString(strings.ReplaceAll(c.es, " ", ""))
		if err != nil {
			t.Fatal(c.name, err)
		}
		if got := inspect(c.codec, es, c.rai, c.last); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestCodecString(t *testing.T) {
	es, _ := hex.DecodeString("0000000109f00000000167640028ac")
	if got := codecString(codecH264, es); got != "avc1.640028" {
		t.Error(got)
	}
	for _, cut := range []int{0, 5, 11, 13} {
		if got := codecString(codecH264, es[:cut]); got != "" {
			t.Errorf("of %d bytes: %s", cut, got)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x09\xf0\x00\x00\x01\x06\x06\x01\xc4\x80"), uint8(codecH264))
	f.Fuzz(func(t *testing.T, es []byte, c uint8) {
		k := codec(c % uint8(codecAudio+1))
		v := inspect(k, es, false, false)
		// A verdict does not change with more bytes.
		if v != undecided && inspect(k, append(es[:len(es):len(es)], 0, 0, 1, 0x65, 0, 0), false, false) != v && len(es) < probeBytes {
			if k == codecH264 || k == codecHEVC || k == codecMPEG2 {
				t.Fatalf("verdict %d changed", v)
			}
		}
		codecString(k, es)
	})
}
