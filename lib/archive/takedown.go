package archive

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// TakedownsFile is the file in the store's folder that says what is taken down (docs/format/takedown.md).
const TakedownsFile = "takedowns"

// Bounds of takedowns.
const (
	maxTakedowns      = 4096
	maxTakedownNames  = 64
	maxTakedownNote   = 200
	maxTakedownsFile  = 16 << 20
	maxTakedownRanges = 65536
)

// Takedown is a line of the file: what is neither taken nor served.
type Takedown struct {
	V  int    `json:"v"`
	ID string `json:"id"`
	// Names are tracks, and namespaces with all below, in written form. Missing: Hash says it.
	Names []string `json:"names,omitempty"`
	// From and To bound when it was broadcast. Missing: not at all.
	From *time.Time `json:"from,omitempty"`
	To   *time.Time `json:"to,omitempty"`
	// Hash is the BLAKE3-256 of a payload, or of a chunk as manifests have it, in hex. The whole group goes.
	Hash string `json:"hash,omitempty"`
	// Ranges are the groups of tracks that From, To and Hash are known to mean. Of a track that is not here the names tell, as far as they can.
	Ranges []TakenRange `json:"ranges,omitempty"`
	Note   string       `json:"note,omitempty"`
	Since  time.Time    `json:"since"`
}

// TakenRange is groups of a track, inclusive.
type TakenRange struct {
	Track string `json:"track"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// String says what is taken down, for people.
func (d Takedown) String() string {
	text := strings.Join(d.Names, " ")
	if d.Hash != "" {
		text = strings.TrimSpace(text + " hash " + d.Hash)
	}
	if d.From != nil {
		text += " from " + d.From.UTC().Format(time.RFC3339)
	}
	if d.To != nil {
		text += " to " + d.To.UTC().Format(time.RFC3339)
	}
	return text
}

// Terms are what a new takedown is about.
type Terms struct {
	Names    []string   `json:"names,omitempty"`
	From     *time.Time `json:"from,omitempty"`
	To       *time.Time `json:"to,omitempty"`
	Hash     string     `json:"hash,omitempty"`
	Note     string     `json:"note,omitempty"`
	NameOnly bool       `json:"name_only,omitempty"` // not what the receivers of a broadcast send of it under their own names
}

// check reports terms that no takedown may have.
func (t Terms) check() error {
	bad := func(format string, args ...any) error {
		return exit.With(exit.Usage, fmt.Errorf(format, args...), "")
	}
	switch {
	case len(t.Names) == 0 && t.Hash == "":
		return bad("nothing is named to be taken down")
	case t.Hash != "" && (t.From != nil || t.To != nil || len(t.Names) > 0):
		return bad("a hash is taken down wherever it is: names and times do not go with it")
	case len(t.Names) > maxTakedownNames:
		return bad("more than %d names", maxTakedownNames)
	case t.From != nil && t.To != nil && !t.From.Before(*t.To):
		return bad("the time range is empty")
	case len(t.Note) > maxTakedownNote || strings.ContainsFunc(t.Note, unicode.IsControl) || !utf8.ValidString(t.Note):
		return bad("a note has one line of at most %d bytes", maxTakedownNote)
	}
	if t.Hash != "" {
		if b, err := hex.DecodeString(t.Hash); err != nil || len(b) != len(object.Hash{}) {
			return bad("%q is no hash: want 64 hex digits", t.Hash)
		}
	}
	for _, n := range t.Names {
		if n == "" {
			return bad("the name is empty")
		}
		if _, err := parse(n); err != nil {
			return err
		}
	}
	return nil
}

// Takedowns are those of the file. Methods may be called concurrently.
type Takedowns struct {
	// Changed, if not nil, is called when what is taken down is another thing, before that is written down.
	Changed func()

	st    *store.Store
	found chan FoundGroup // groups in which a payload was found; what does not fit is found again
	view  atomic.Pointer[view]

	mu   sync.Mutex // guards file, and that what is withheld is what it says
	file auth.Lines[Takedown]
}

// OpenTakedowns reads the takedowns of a folder and withholds them in its store. Without them nothing may be served, so an error is one of the start.
func OpenTakedowns(dir string, st *store.Store) (*Takedowns, error) {
	ts := &Takedowns{st: st, found: make(chan FoundGroup, 256), file: takedownsFile(dir)}
	return ts, ts.Reread()
}

func takedownsFile(dir string) auth.Lines[Takedown] {
	return auth.Lines[Takedown]{
		Path: filepath.Join(dir, TakedownsFile), Max: maxTakedownsFile, Temp: ".takedowns-*", What: "takedown",
		Good: func(d Takedown) bool {
			return d.V == 1 && d.ID != "" && Terms{Names: d.Names, From: d.From, To: d.To, Hash: d.Hash, Note: d.Note}.check() == nil
		},
	}
}

// CheckTakedowns reports a file of takedowns that cannot be read.
func CheckTakedowns(dir string) error {
	f := takedownsFile(dir)
	_, err := f.Read()
	return wrongFile(err)
}

func wrongFile(err error) error {
	if err == nil {
		return nil
	}
	return exit.With(exit.Config, fmt.Errorf("takedowns: %w", err), "a relay that does not know what is taken down serves nothing")
}

// Reread reads the file again, if somebody has changed it, and withholds what it says.
func (ts *Takedowns) Reread() error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list, err := ts.file.Read()
	if err != nil {
		return wrongFile(err)
	}
	next := slices.Clone(list)
	changed := false
	for i := range next {
		changed = ts.resolve(&next[i]) || changed
	}
	ts.apply(next)
	if !changed || ts.st.Kept().ReadOnly {
		return nil
	}
	return ts.file.Write(next)
}

// apply has the store withhold what a list says; ts.mu is held.
func (ts *Takedowns) apply(list []Takedown) {
	v := newView(list)
	ts.view.Store(v)
	w := store.Withheld{Of: v.ranges}
	if len(v.hashes) > 0 {
		w.Taken = func(h object.Hash) bool { _, taken := v.hashes[h]; return taken }
		w.Found = func(name object.TrackName, group uint64, hash object.Hash) {
			select {
			case ts.found <- FoundGroup{name, group, hash}:
			default:
			}
		}
	}
	ts.st.Withhold(w)
	if ts.Changed != nil {
		ts.Changed()
	}
}

// Add takes something down. What is taken down is known to nobody when it returns; groups are what it is known to mean in the store.
func (ts *Takedowns) Add(t Terms, now time.Time) (Takedown, error) {
	t.Hash = strings.ToLower(t.Hash)
	if err := t.check(); err != nil {
		return Takedown{}, err
	}
	var id [4]byte
	rand.Read(id[:])
	d := Takedown{V: 1, ID: hex.EncodeToString(id[:]), Names: t.Names, From: utc(t.From), To: utc(t.To), Hash: t.Hash, Note: t.Note, Since: now.UTC().Truncate(time.Second)}
	if !t.NameOnly {
		d.Names = withSources(ts.st, d.Names)
	}
	if d.Hash == "" {
		ts.resolve(&d) // first, because the names alone may mean more
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list, err := ts.file.Read()
	if err != nil {
		return Takedown{}, err
	}
	if len(list) >= maxTakedowns {
		return Takedown{}, fmt.Errorf("%s: %d takedowns are there already", ts.file.Path, len(list))
	}
	next := append(slices.Clone(list), d)
	ts.apply(next)                      // first: what is to go goes, also if the disk is full
	if d.Hash != "" && ts.resolve(&d) { // which reads all manifests
		next[len(next)-1] = d
		ts.apply(next)
	}
	if err := ts.file.Write(next); err != nil {
		return d, fmt.Errorf("taken down until the relay ends or reads its configuration again, and not written down: %w", err)
	}
	return d, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// Lift lets what a takedown took down be served again, unless another one is about it, too.
func (ts *Takedowns) Lift(id string) (Takedown, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list, err := ts.file.Read()
	if err != nil {
		return Takedown{}, err
	}
	i := slices.IndexFunc(list, func(d Takedown) bool { return d.ID == id })
	if i < 0 {
		return Takedown{}, exit.With(exit.Unreachable, fmt.Errorf("no takedown %q", id), "ec-relay takedown lists them")
	}
	d, next := list[i], slices.Delete(slices.Clone(list), i, i+1)
	if err := ts.file.Write(next); err != nil {
		return Takedown{}, err
	}
	ts.apply(next)
	return d, nil
}

// List returns the takedowns, in the order in which they were made.
func (ts *Takedowns) List() ([]Takedown, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list, err := ts.file.Read()
	return slices.Clone(list), err
}

// Found has the groups in which a payload was found that is taken down; Note writes them down.
func (ts *Takedowns) Found() <-chan FoundGroup { return ts.found }

// FoundGroup is a group in which a payload was found that is taken down.
type FoundGroup struct {
	Track object.TrackName
	Group uint64
	Hash  object.Hash
}

// Note writes down a group that was found, in the takedown whose id it returns; "": that was known, or the takedown was lifted meanwhile.
func (ts *Takedowns) Note(f FoundGroup) (id string, err error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list, err := ts.file.Read()
	if err != nil {
		return "", err
	}
	next, r := slices.Clone(list), TakenRange{f.Track.String(), f.Group, f.Group}
	for i := range next {
		d := &next[i]
		if d.Hash != hex.EncodeToString(f.Hash[:]) || slices.Contains(d.Ranges, r) {
			continue
		}
		if len(d.Ranges) >= maxTakedownRanges {
			return "", fmt.Errorf("takedown %s: more than %d groups", d.ID, maxTakedownRanges)
		}
		id, d.Ranges = d.ID, append(slices.Clone(d.Ranges), r)
	}
	if id == "" {
		return "", nil
	}
	ts.apply(next)
	return id, ts.file.Write(next)
}

// Covers returns what reports whether a takedown is about a group.
func (d Takedown) Covers() func(name object.TrackName, group uint64) bool {
	v := newView([]Takedown{d})
	return func(name object.TrackName, group uint64) bool {
		return slices.ContainsFunc(v.ranges(name), func(r store.Range) bool { return r.Has(group) })
	}
}

// Whole returns the id of a takedown of all of a track; "": there is none.
func (ts *Takedowns) Whole(name object.TrackName) string {
	for _, e := range ts.view.Load().entries {
		if e.whole && e.about(name) {
			return e.ID
		}
	}
	return ""
}

// Namespace returns the id of a takedown of a namespace with all below; "": there is none.
func (ts *Takedowns) Namespace(ns object.Namespace) string {
	for _, e := range ts.view.Load().entries {
		if e.whole && slices.ContainsFunc(e.names, func(s selection) bool { return s.track == nil && ns.HasPrefix(s.prefix) }) {
			return e.ID
		}
	}
	return ""
}

// Ranges returns the groups of a track that are taken down.
func (ts *Takedowns) Ranges(name object.TrackName) []store.Range { return ts.view.Load().ranges(name) }

// view is a list of takedowns to be asked. It does not change.
type view struct {
	entries []entry
	hashes  map[object.Hash]string
}

type entry struct {
	Takedown
	names []selection
	whole bool
	known map[string][]store.Range
}

func newView(list []Takedown) *view {
	v := &view{hashes: make(map[object.Hash]string)}
	for _, d := range list {
		e := entry{Takedown: d, whole: d.Hash == "" && d.From == nil && d.To == nil, known: make(map[string][]store.Range)}
		for _, n := range d.Names {
			if s, err := parse(n); err == nil {
				e.names = append(e.names, s)
			}
		}
		for _, r := range d.Ranges {
			e.known[r.Track] = append(e.known[r.Track], store.Range{First: r.First, Last: r.Last})
		}
		if b, err := hex.DecodeString(d.Hash); err == nil && len(b) == len(object.Hash{}) {
			v.hashes[object.Hash(b)] = d.ID
		}
		v.entries = append(v.entries, e)
	}
	return v
}

// about reports whether a name of the takedown is that of a track, or of something above it.
func (e entry) about(name object.TrackName) bool {
	return slices.ContainsFunc(e.names, func(s selection) bool { return s.has(name) })
}

// ranges returns the groups of a track that are taken down.
func (v *view) ranges(name object.TrackName) (list []store.Range) {
	for _, e := range v.entries {
		known := e.known[name.String()]
		switch {
		case e.whole && e.about(name):
			return []store.Range{{First: 0, Last: object.MaxVarint}}
		case len(known) > 0:
			list = append(list, known...)
		case e.Hash == "" && e.about(name):
			list = append(list, guessed(name, e.From, e.To))
		}
	}
	return list
}
