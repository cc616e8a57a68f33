package relay

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// TestUnreadableGroup: a group whose file cannot be read is unknown in the answer to a FETCH, and the groups behind it come.
func TestUnreadableGroup(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		dir := t.TempDir()
		r := start(t, dir, pipe, Config{}, store.Config{})
		p := r.publisher(t, ts)
		for g := range uint64(3) {
			p.group(g + 1)
		}
		r.stored(t, 3*(parts+1))
		replaced := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "2.eco" {
				replaced++
				return errors.Join(os.Remove(path), os.Mkdir(path, 0o700), fs.SkipDir)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.SkipDir) || replaced != 1 {
			t.Fatalf("%d files of group 2, %v", replaced, err)
		}
		c := r.dial(t, nil)
		defer c.leave()
		f, err := c.Fetch(within(t, 2*time.Minute), ts, moqt.Location{Group: 1}, moqt.Location{Group: 3}, moqt.FetchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Cancel()
		objects, unknown := map[uint64]int{}, map[uint64]int{}
		for {
			o, err := f.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch o.Kind {
			case moqt.FetchedObject:
				objects[o.Group]++
			case moqt.FetchedUnknown:
				unknown[o.Group]++
			}
		}
		if objects[1] != parts || objects[2] != 0 || objects[3] != parts || unknown[2] != 1 || len(unknown) != 1 {
			t.Errorf("objects by group %v, unknown by group %v", objects, unknown)
		}
	})
}

// TestNothingBehind: what a FETCH asks for behind the last group that is stored in its range is unknown too. Before, the answer said of it
// what a publisher says of objects that do not exist.
func TestNothingBehind(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := r.publisher(t, ts)
		for _, g := range []uint64{10, 12, 20} {
			p.group(g)
		}
		r.stored(t, 3*(parts+1))
		c := r.dial(t, nil)
		defer c.leave()
		for _, test := range []struct {
			from, to        moqt.Location // inclusive, exclusive in its group
			objects, behind int           // how many, and how many unknown ranges reach the end
		}{
			{moqt.Location{Group: 14}, moqt.Location{Group: 14, Object: 3}, 0, 1},
			{moqt.Location{Group: 14}, moqt.Location{Group: 16}, 0, 1},
			{moqt.Location{Group: 12}, moqt.Location{Group: 15, Object: 1}, parts, 1},
			{moqt.Location{Group: 10}, moqt.Location{Group: 12}, 2 * parts, 0},
			{moqt.Location{Group: 10}, moqt.Location{Group: 10, Object: 2}, 2, 0},
			{moqt.Location{Group: 15}, moqt.Location{Group: 20}, parts, 0},
		} {
			f, err := c.Fetch(within(t, 2*time.Minute), ts, test.from, test.to, moqt.FetchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			objects, behind := 0, 0
			for {
				o, err := f.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case o.Kind == moqt.FetchedObject:
					objects++
				case o.Kind == moqt.FetchedUnknown && o.Group == test.to.Group && (o.ID == test.to.Object-1 || test.to.Object == 0 && o.ID == object.MaxVarint):
					behind++
				}
			}
			f.Cancel()
			if objects != test.objects || behind != test.behind {
				t.Errorf("%v to %v: %d objects and %d unknown ranges up to the end, want %d and %d", test.from, test.to, objects, behind, test.objects, test.behind)
			}
		}
	})
}
