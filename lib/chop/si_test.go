package chop_test

import (
	"context"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/psi"
)

// tables counts the sections of si tracks by table_id and group.
type tables map[uint8][]uint64

func (s tables) WriteObject(t object.TrackName, o *object.Object) error {
	if t.Name != catalog.TrackSI || o.Status != object.Normal {
		return nil
	}
	for b := o.Payload; len(b) >= 5; {
		n := 5 + int(b[3]&0x0f)<<8 + int(b[4])
		s[b[2]] = append(s[b[2]], o.Group)
		b = b[n:]
	}
	return nil
}

// A reader of an si track finds all tables in any 10 minutes of the track, those of before the first time table too, in groups of the
// broadcast's buckets.
func TestSITrack(t *testing.T) {
	for number, want := range map[string][]uint8{
		"5.1": {psi.TableMGT, psi.TableTVCT, psi.TableEIT, psi.TableSTT},
		"101": {psi.TableNIT, psi.TableSDT, psi.TableDVBEIT, psi.TableTOT},
	} {
		m, s := mux(t, number)
		got := tables{}
		if _, err := chop.Run(context.Background(), chop.Config{Source: "here"}, m.Reader(epoch, epoch.Add(11*time.Minute), s.Program), got); err != nil {
			t.Fatal(err)
		}
		for _, id := range want {
			groups := got[id]
			if len(groups) < 2 {
				t.Errorf("channel %s: table %#x is in groups %d, in eleven minutes", number, id, groups)
				continue
			}
			if first, last := groups[0], groups[len(groups)-1]; last-first < 290 || last-first > 330 {
				t.Errorf("channel %s: table %#x is in groups %d", number, id, groups)
			}
		}
		if n := len(got[psi.TableTDT]); n > 0 {
			t.Errorf("channel %s: %d TDT", number, n)
		}
	}
}
