package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/store"
)

// Orders about the store, which the operators' door takes, and OnFolder where no relay runs.
const (
	StoreList   = "store"
	StoreCheck  = "store-check"
	StoreDelete = "store-delete"
	StoreRelist = "store-relist"
)

// StoreCommands are their names.
var StoreCommands = [...]string{StoreList, StoreCheck, StoreDelete, StoreRelist}

// stepOfCheck is how long one step of a check takes; the door waits for an answer for a minute.
const stepOfCheck = 5 * time.Second

// OnFolder carries out an order about the store in a folder on which no relay runs. Only what the order is for is changed in it.
func OnFolder(ctx context.Context, dir string, c store.Config, name string, o archive.Order) (record json.RawMessage, err error) {
	c.ReadOnly, c.NoIndex = name == StoreList || name == StoreCheck && !o.Repair, true
	st, err := store.Open(dir, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	d := diskOf(st, dir)
	d.Retention = nil // no relay is there to remove anything
	answer, err := storeCommand(ctx, st, d, name, o)
	if name == StoreDelete {
		audit, aerr := auth.OpenAudit(filepath.Join(dir, auth.AuditFile), nil)
		err = errors.Join(err, aerr)
		tellDeleted(audit, fmt.Sprintf("uid %d", os.Getuid()), o, answer, err)
		audit.Close()
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// tellDeleted writes down that somebody deleted something.
func tellDeleted(audit *auth.Audit, who string, o archive.Order, record any, err error) {
	d, is := record.(archive.Deleted)
	if !is {
		return
	}
	e := auth.Entry{What: "store-delete", Who: who, Subject: o.Name, Detail: fmt.Sprintf("%d groups of %d tracks", d.Groups, d.Tracks)}
	if err != nil {
		e.Err = err.Error()
	}
	audit.Add(e)
}

func storeCommand(ctx context.Context, st *store.Store, d Disk, name string, o archive.Order) (any, error) {
	switch name {
	case StoreCheck:
		return archive.Check(ctx, st, o, stepOfCheck)
	case StoreRelist:
		return archive.Relist(ctx, st, o, stepOfCheck)
	case StoreDelete:
		return archive.Delete(st, o)
	}
	return stored(st, d, o)
}

// diskOf returns what a store holds, and by which rules.
func diskOf(s *store.Store, dir string) Disk {
	c := s.Kept()
	st := s.Stats()
	d := Disk{Dir: dir, Bytes: st.Bytes, Tracks: st.Tracks, Groups: st.Groups, Removed: st.Removed, Full: st.Full}
	d.Retention = []Bound{{Age: c.MaxAge.Seconds(), Bytes: c.MaxBytes}}
	for _, rule := range c.Rules {
		d.Retention = append(d.Retention, Bound{rule.Prefix.String(), rule.MaxAge.Seconds(), rule.MaxBytes})
	}
	if p := s.Paused(); p != nil {
		d.Paused = &Paused{Why: p.Why, Since: p.Since.UTC(), Objects: p.Objects}
	}
	d.Tier = tierOf(s, st, c)
	parts, n := s.LeftOut()
	d.LeftOut = n
	for _, p := range parts[:min(len(parts), mostParts)] {
		d.Parts = append(d.Parts, Part(p))
	}
	return d
}

// tierOf returns what lies in the cold tier; nil: nothing, and there is none.
func tierOf(s *store.Store, st store.Stats, c store.Config) *Tier {
	state := s.Tier()
	if state == nil {
		if st.TierGroups == 0 {
			return nil
		}
		return &Tier{Groups: st.TierGroups, Bytes: st.TierBytes}
	}
	t := &Tier{
		Bucket: state.Name, After: c.TierAfter.Seconds(), Groups: st.TierGroups, Bytes: st.TierBytes, Waiting: state.Waiting, Moved: state.Moved,
		Stays: state.Stays, Deleting: state.Doomed, Error: state.Err,
	}
	if c.TierMaxAge != 0 {
		age := max(c.TierMaxAge.Seconds(), 0)
		t.Age = &age
	}
	if !state.Since.IsZero() {
		since := state.Since.UTC()
		t.Since = &since
	}
	return t
}

// stored returns the tracks of a store, in order of the names.
func stored(st *store.Store, d Disk, o archive.Order) (Stored, error) {
	all := Stored{V: 1, Store: d, Tracks: []StoredTrack{}}
	list, err := archive.List(st, o)
	for _, t := range list {
		all.Tracks = append(all.Tracks, StoredTrack{
			Track: t.Name.String(), Groups: t.Groups, Whole: t.Whole, Bytes: t.Bytes, TierGroups: t.TierGroups, TierBytes: t.TierBytes, First: t.First, Last: t.Last,
			Oldest: t.Oldest.UTC(), Newest: t.Newest.UTC(),
			Missing: t.Missing[:min(len(t.Missing), archive.MostHoles)], MissingCount: len(t.Missing),
			Incomplete: t.Incomplete[:min(len(t.Incomplete), archive.MostHoles)], IncompleteCount: len(t.Incomplete),
		})
	}
	return all, err
}
