package chop_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

// result is what a receiver came to.
type result struct {
	stats    chop.Stats
	objects  map[string]object.Hash // track, group and object to hash, media only
	chunks   map[string]object.Hash // promoted chunks: track and group to hash
	manifest []*catalog.ManifestEntry
	order    []string        // names of all objects, in order of writing
	ended    map[string]bool // track and group
}

func name(t object.TrackName, group, id uint64) string { return fmt.Sprintf("%s %d %d", t, group, id) }

// WriteObject takes an object as a relay would: no name twice, no object after a group's end.
func (r *result) WriteObject(t object.TrackName, o *object.Object) error {
	key := name(t, o.Group, o.ID)
	r.order = append(r.order, key)
	group := fmt.Sprintf("%s %d", t, o.Group)
	if r.ended[group] {
		return fmt.Errorf("%s: after the end of its group", key)
	}
	if o.Status != object.Normal {
		r.ended[group] = true
		return nil
	}
	if err := object.VerifyHash(o); err != nil {
		return err
	}
	if t.Name == catalog.TrackManifest {
		e, err := catalog.ParseManifestEntry(o.Payload)
		if err != nil {
			return err
		}
		r.manifest = append(r.manifest, e)
		if e.Scope == catalog.ScopeBroadcast {
			r.chunks[fmt.Sprintf("%s %d", e.Track, e.Group)] = e.Hash
		}
	}
	if !strings.HasPrefix(t.Name, "ts") && t.Name != catalog.TrackCatalog {
		return nil
	}
	if _, ok := r.objects[key]; ok {
		return fmt.Errorf("%s was written before", key)
	}
	r.objects[key] = object.Sum(o.Payload)
	return nil
}

func newResult() *result {
	return &result{objects: map[string]object.Hash{}, chunks: map[string]object.Hash{}, ended: map[string]bool{}}
}

func receive(t *testing.T, cfg chop.Config, in io.Reader) *result {
	t.Helper()
	r := newResult()
	if cfg.Source == "" {
		cfg.Source = "here"
	}
	var err error
	if r.stats, err = chop.Run(context.Background(), cfg, in, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// agree fails if two receivers gave one name to two contents under the broadcast's name, and returns how many
// promoted chunks both have.
func agree(t *testing.T, a, b *result) (shared int) {
	t.Helper()
	for key, h := range a.objects {
		if other, ok := b.objects[key]; ok && other != h && !strings.HasPrefix(key, "ec-source-") {
			t.Errorf("%s: two contents", key)
		}
	}
	for key := range a.chunks {
		if _, ok := b.chunks[key]; ok {
			shared++
		}
	}
	return shared
}

// between is what both receivers have heard in full, so both should have promoted: all but the first and last
// chunk of each.
func (r *result) span() (first, last uint64) {
	var groups []uint64
	for _, e := range r.manifest {
		if e.UTC != nil {
			groups = append(groups, e.Group)
		}
	}
	if len(groups) < 4 {
		return 1, 0
	}
	return groups[1], groups[len(groups)-3]
}

var epoch = time.Date(2026, 3, 14, 15, 20, 0, 0, time.UTC)

func mux(t testing.TB, number string) (*sim.Mux, sim.Service) {
	t.Helper()
	var b sim.Broadcast
	m, s, err := b.Channel(number)
	if err != nil {
		t.Fatal(err)
	}
	return m, s
}

// TestIdentity is the reason for this project: receivers that joined at different times, with nulls stripped,
// PAT rewritten and time tables lost and late, come to the same chunks, across a wrap of the PCR.
func TestIdentity(t *testing.T) {
	impair := sim.Impair{Seed: 7, StripNull: true, RewritePAT: true, RewritePMT: true, TimeLoss: 0.2, TimeJitter: 900 * time.Millisecond}
	length := 17 * time.Minute // the longest GOP among the clips is 3.2 s
	if testing.Short() || raceEnabled {
		length = time.Minute
	}
	for _, number := range []string{"5.1", "5.2", "101", "102", "103"} {
		t.Run(number, func(t *testing.T) {
			m, s := mux(t, number)
			m.Offset, m.WrapAt = 0, epoch.Add(length/2)
			end := epoch.Add(length)
			a := receive(t, chop.Config{}, m.Reader(epoch, end, 0+s.Program))
			rng := rand.New(rand.NewPCG(1, 2))
			first, last := a.span()
			want := 0
			for _, e := range a.manifest {
				if e.Group >= first && e.Group <= last {
					want++
					if e.Scope != catalog.ScopeBroadcast {
						t.Errorf("clean reception: group %d is %s: %s", e.Group, e.Scope, e.Reason)
					}
				}
			}
			for i := range 3 {
				impair.Seed = uint64(i)
				join := time.Duration(rng.Int64N(int64(20 * time.Second)))
				b := receive(t, chop.Config{}, impair.Reader(m.Reader(epoch.Add(join), end, s.Program)))
				shared := agree(t, a, b)
				first, last := b.span()
				both := 0
				for _, e := range a.manifest {
					if e.Group >= first && e.Group <= last && e.Scope == catalog.ScopeBroadcast {
						both++
					}
				}
				unsynced := 0 // a TDT does not count while the TOT that may belong to it was lost
				for _, e := range b.manifest {
					if e.Reason == catalog.ReasonUnsynced && m.Standard == sim.DVB {
						unsynced++
					}
				}
				t.Logf("join +%v: %d chunks shared of %d, %d promoted there, %d here, %d unsynced", join, shared, both, b.stats.Promoted, a.stats.Promoted, unsynced)
				if shared+unsynced < both || unsynced > 15 {
					t.Errorf("join +%v: only %d of %d chunks are shared, %d had no time", join, shared, both, unsynced)
				}
			}
			if length > 10*time.Minute && want < 300 {
				t.Errorf("only %d chunks were compared", want)
			}
		})
	}
}

// TestDamageIsNeverPromoted loses packets at one receiver: what it promotes is what the other promotes.
func TestDamageIsNeverPromoted(t *testing.T) {
	end := epoch.Add(5 * time.Minute)
	if testing.Short() {
		end = epoch.Add(2 * time.Minute)
	}
	if raceEnabled {
		end = epoch.Add(time.Minute)
	}
	for _, impair := range []sim.Impair{
		{Loss: 1.0 / 5000},
		{Loss: 1.0 / 500},
		{Loss: 1.0 / 2000, Burst: 20},
		{TEI: 1.0 / 3000},
		{Cut: 1.0 / 5000},
		{Loss: 1.0 / 5000, TimeLoss: 0.3, TimeJitter: time.Second, StripNull: true},
		{StallEvery: 30 * time.Second, StallFor: 3 * time.Second},
	} {
		for _, number := range []string{"5.1", "102"} {
			for _, promote := range []chop.Promotion{chop.PromoteChunk, chop.PromotePart} {
				impair.Seed++
				m, s := mux(t, number)
				a := receive(t, chop.Config{Promote: promote}, m.Reader(epoch, end, s.Program))
				b := receive(t, chop.Config{Promote: promote}, impair.Reader(m.Reader(epoch.Add(3*time.Second), end, s.Program)))
				shared := agree(t, a, b)
				if b.stats.Damaged == 0 && !raceEnabled && !testing.Short() {
					t.Errorf("%s %+v: nothing was damaged", number, impair)
				}
				for key := range b.chunks {
					if h, ok := a.chunks[key]; ok && h != b.chunks[key] {
						t.Errorf("%s: promoted with other bytes", key)
					} else if !ok {
						t.Errorf("%s %+v: %s was promoted by the damaged receiver alone", number, impair, key)
					}
				}
				for key := range b.objects {
					if _, ok := a.objects[key]; !ok && strings.Contains(key, "--ts_t") {
						t.Errorf("%s %+v: object %s has no equal", number, impair, key)
					}
				}
				claims, right := 0, 0
				for _, e := range b.manifest {
					if len(e.Candidates) == 0 {
						continue
					}
					claims++
					want, ok := a.chunks[fmt.Sprintf("%s %d", e.Candidates[0], e.Group)]
					if ok && a.objects[name(e.Candidates[0], e.Group, 0)] == b.objects[name(e.Track, e.Group, 0)] {
						if right++; e.Hash != want {
							t.Errorf("%s %+v: group %d starts as the broadcast's but goes on otherwise", number, impair, e.Group)
						}
					}
				}
				t.Logf("%d claims, %d of them right", claims, right)
				t.Logf("%s promote %d loss %g burst %d: %d shared, %d damaged of %d", number, promote, impair.Loss, impair.Burst, shared, b.stats.Damaged, b.stats.Chunks)
			}
		}
	}
}

// TestReadSizesDoNotMatter: bytes in, the same objects out, however they come.
func TestReadSizesDoNotMatter(t *testing.T) {
	m, s := mux(t, "5.2")
	var in bytes.Buffer
	if _, err := io.Copy(&in, m.Reader(epoch, epoch.Add(8*time.Second), s.Program)); err != nil {
		t.Fatal(err)
	}
	stream := func(r io.Reader) []byte {
		var out bytes.Buffer
		if _, err := chop.Run(context.Background(), chop.Config{Host: "here"}, r, object.NewWriter(&out)); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	want := stream(bytes.NewReader(in.Bytes()))
	for name, r := range map[string]io.Reader{
		"one byte": iotest.OneByteReader(bytes.NewReader(in.Bytes())),
		"half":     iotest.HalfReader(bytes.NewReader(in.Bytes())),
		"data err": iotest.DataErrReader(bytes.NewReader(in.Bytes())),
	} {
		if !bytes.Equal(stream(r), want) {
			t.Errorf("%s: another stream of objects", name)
		}
	}
	for _, stride := range []int{192, 204} {
		var wide bytes.Buffer
		for b := in.Bytes(); len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
			if stride == 192 {
				wide.Write([]byte{1, 2, 3, 4})
			}
			wide.Write(b[:ts.PacketSize])
			if stride == 204 {
				wide.Write(make([]byte, 16))
			}
		}
		if !bytes.Equal(stream(&wide), want) {
			t.Errorf("packets of %d bytes: another stream of objects", stride)
		}
	}
}

// TestClockJumps: both receivers see the broadcaster's clock jump, and agree before and after.
func TestClockJumps(t *testing.T) {
	for _, jump := range []sim.Jump{
		{Every: time.Minute, By: 30 * time.Minute},
		{Every: time.Minute, By: -3 * time.Hour},
		{Every: time.Minute, By: 7 * time.Second, Silent: true},
		{Every: time.Minute, By: -7 * time.Second, Silent: true},
	} {
		m, s := mux(t, "5.1")
		m.Jump = jump
		end := epoch.Add(5 * time.Minute)
		a := receive(t, chop.Config{}, m.Reader(epoch, end, s.Program))
		b := receive(t, chop.Config{}, sim.Impair{TimeLoss: 0.2}.Reader(m.Reader(epoch.Add(10*time.Second), end, s.Program)))
		shared := agree(t, a, b)
		t.Logf("%+v: %d shared, %d promoted of %d", jump, shared, a.stats.Promoted, a.stats.Chunks)
		if shared < 20 {
			t.Errorf("%+v: only %d chunks are shared", jump, shared)
		}
	}
}

// Where all counters start anew with the clock, announced, a chunk is lost that the step lies in, and none before or behind it (H.222.0 §2.4.3.5).
func TestCountersStartAnew(t *testing.T) {
	for _, number := range []string{"5.2", "101"} {
		m, s := mux(t, number)
		m.Jump = sim.Jump{Every: time.Minute, Restart: true, Counters: true}
		told := receive(t, chop.Config{}, m.Reader(epoch.Add(10*time.Second), epoch.Add(150*time.Second), s.Program)).told()
		if strings.Count(told, catalog.ReasonDamaged) != 2 || strings.Contains(told, catalog.ReasonUnsure) || strings.Count(told, "B") < 60 {
			t.Errorf("%s: %s", number, told)
		}
	}
}

// TestLossyCapture joins a real, damaged recording at random places: names agree, all damage is flagged.
func TestLossyCapture(t *testing.T) {
	dir := os.Getenv("EC_CAPTURES")
	if dir == "" {
		t.Skip("EC_CAPTURES is not set")
	}
	data, err := os.ReadFile(filepath.Join(dir, "dvbt-arte-hd-tot-lossy.ts"))
	if err != nil {
		t.Skip(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	all := map[string]object.Hash{} // name and content of every object, whoever heard it
	groups := map[uint64]bool{}     // names of chunks on broadcast time
	whole := receive(t, chop.Config{}, bytes.NewReader(data))
	for _, e := range whole.manifest {
		groups[e.Group] = true
		if e.Damage == nil && e.Reason == catalog.ReasonDamaged || e.Scope == catalog.ScopeBroadcast && e.Damage != nil {
			t.Errorf("group %d: %s with damage %v", e.Group, e.Scope, e.Damage)
		}
	}
	maps.Copy(all, whole.chunks)
	for range 24 {
		at := rng.IntN(len(data) * 2 / 3)
		b := receive(t, chop.Config{}, bytes.NewReader(data[at:]))
		for i, e := range b.manifest {
			if e.UTC != nil && i > 0 && e.Reason != catalog.ReasonDiscontinuity && !groups[e.Group] {
				t.Errorf("joined at %d: group %d is nobody else's", at, e.Group)
			}
			if e.Scope == catalog.ScopeBroadcast {
				key := fmt.Sprintf("%s %d", e.Track, e.Group)
				if h, ok := all[key]; ok && h != e.Hash {
					t.Errorf("joined at %d: %s has another content", at, key)
				}
				all[key] = e.Hash
			}
		}
	}
	t.Logf("%d chunks on broadcast time, %d damaged, %d promoted", whole.stats.Synced, whole.stats.Damaged, whole.stats.Promoted)
}

// TestRareTOT: real broadcasters send two TDT and more for each TOT. Where they contradict each other, every receiver of 30 s and more goes by the TOT,
// wherever it joined, and none by the TDT that lost the TOT.
func TestRareTOT(t *testing.T) {
	m, s := mux(t, "101")
	m.TDTEvery, m.Habits.TDTWrong = 4*time.Second, 3*time.Hour
	data, err := io.ReadAll(m.Reader(epoch, epoch.Add(70*time.Second), s.Program))
	if err != nil {
		t.Fatal(err)
	}
	all := data
	data = nil
	tots, cc := 0, uint8(0)
	for ; len(all) > 0; all = all[ts.PacketSize:] {
		p := (*ts.Packet)(all)
		if p.PID() == ts.PIDTDT {
			if p.Payload()[1] == psi.TableTOT {
				if tots++; tots%3 != 2 {
					continue
				}
			}
			p.SetContinuity(cc)
			cc = (cc + 1) & 0x0f
		}
		data = append(data, p[:]...)
	}
	names := map[string]string{} // hash to name
	promoted := 0
	check := func(r *result) {
		t.Helper()
		promoted += len(r.chunks)
		for key, h := range r.chunks {
			if old, ok := names[h.String()]; ok && old != key {
				t.Errorf("%s is also %s", key, old)
			}
			names[h.String()] = key
		}
	}
	for at := 0; at < len(data)/2; at += len(data) / 40 / ts.PacketSize * ts.PacketSize {
		check(receive(t, chop.Config{}, bytes.NewReader(data[at:])))
	}
	if promoted < 300 {
		t.Errorf("%d chunks promoted", promoted)
	}
	none := func(p *ts.Packet) bool { return p.PID() != ts.PIDTDT || p.Payload()[1] != psi.TableTOT }
	check(receive(t, chop.Config{}, filtered(bytes.NewReader(data), none)))
}

// TestPCREnds: a PMT that begins to say that there is no PCR takes the names from nobody.
func TestPCREnds(t *testing.T) {
	m, s := mux(t, "101")
	m.TDTEvery = 5 * time.Second
	all, err := io.ReadAll(m.Reader(epoch, epoch.Add(time.Minute), s.Program))
	if err != nil {
		t.Fatal(err)
	}
	var pmt ts.PID
	change := len(all) / 3 / ts.PacketSize * ts.PacketSize
	var a psi.Assembler
	var data []byte
	for at := 0; at < len(all); at += ts.PacketSize {
		p := (*ts.Packet)(all[at:])
		a.Feed(p, func(section []byte) {
			if pat, err := psi.ParsePAT(section); err == nil {
				pmt = pat.Programs[0].PID
			}
		})
		switch {
		case at < change:
		case p.PID() == pmt:
			table, err := psi.ParsePMT(p.Payload()[1:])
			if err != nil {
				t.Fatal(err)
			}
			table.PCRPID, table.Version = ts.PIDNull, table.Version+1
			cc := p.Continuity()
			data = append(data, psi.AppendPackets(nil, pmt, &cc, table.Append(nil))...)
			continue
		case p.HasAdaptation() && p.HasPCR():
			p.TakePCR()
		}
		data = append(data, p[:]...)
	}
	r, late := receive(t, chop.Config{}, bytes.NewReader(data)), receive(t, chop.Config{}, bytes.NewReader(data[change:]))
	if want := "first" + strings.Repeat(" B", 28) + " cut"; r.told() != want {
		t.Errorf("%s, want %s", r.told(), want)
	}
	if shared := agree(t, r, late); shared < 16 {
		t.Errorf("%d chunks are shared: %s", shared, late.told())
	}
}
