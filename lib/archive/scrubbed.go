package archive

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"every.channel/ec/lib/store"
)

// Scrubbed is how far a scrub is. It is what is noted in the store's folder (docs/format/store.md), and a part of the relay's status.
type Scrubbed struct {
	V     int        `json:"v"` // 1
	Rate  int64      `json:"rate"`
	Begun time.Time  `json:"begun"`          // the pass
	Over  *time.Time `json:"over,omitempty"` // when the pass was over; missing: it is under way
	Next  *Place     `json:"next,omitempty"` // where it is
	// Groups and Bytes of the pass were compared.
	Groups int64 `json:"groups"`
	Bytes  int64 `json:"bytes"`
	// Bad groups were found and Healed ones fetched again, in all passes.
	Bad    int64 `json:"bad"`
	Healed int64 `json:"healed"`
	// Waiting are groups that nobody had; they are asked for again.
	Waiting []Waiting `json:"waiting,omitempty"`
	Paused  string    `json:"paused,omitempty"` // why nothing is read at the moment
}

// Waiting is a group that was damaged, and is to be fetched.
type Waiting struct {
	Place
	Since time.Time `json:"since"`
}

// mostNoted bounds what is read of a note.
const mostNoted = 1 << 20

// resume reads how far the scrub was. A note that is missing or wrong costs a pass from the beginning.
func (s *Scrub) resume() {
	p, err := readNote(s.File)
	if s.File != "" && err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Logger.Warn("stored groups are compared from the first one on, how far that was cannot be read", "err", err)
	}
	if err != nil || p.V != 1 || len(p.Waiting) > mostWaiting {
		p = Scrubbed{V: 1}
	}
	p.Rate, p.Paused = s.Rate, ""
	s.change(func(now *Scrubbed) { *now = p })
}

func readNote(path string) (p Scrubbed, err error) {
	if st, err := os.Lstat(path); err != nil {
		return p, err
	} else if !st.Mode().IsRegular() {
		return p, &os.PathError{Op: "read", Path: path, Err: errors.New("not a file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostNoted))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	return p, err
}

// note writes how far the scrub is, whole or not at all. What cannot be written is said once: a restart goes on from an earlier group.
func (s *Scrub) note() {
	if s.File == "" {
		return
	}
	err := writeNote(s.File, s.Progress())
	switch {
	case err == nil:
		s.said = ""
	case s.said == "":
		s.said = err.Error()
		s.Logger.Info("how far stored groups were compared is not noted", "err", err)
	}
}

func writeNote(path string, p Scrubbed) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return store.ReplaceFile(path, append(b, '\n'))
}
