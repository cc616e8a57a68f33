package relay

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/store"
)

// Orders about what is taken down, which the operators' door takes, and TakedownsOnFolder where no relay runs.
const (
	TakedownAdd  = "takedown"
	TakedownList = "takedowns"
	TakedownLift = "lift"
)

// TakedownOrder are the arguments of the command takedown.
type TakedownOrder struct {
	archive.Terms
	Purge bool `json:"purge,omitempty"` // remove what is stored of it, too
}

// LiftOrder are those of the command lift.
type LiftOrder struct {
	ID string `json:"id"`
}

// TakedownRecord is the record of takedown and lift: what is, or was, taken down, and what there is of it in the store.
type TakedownRecord struct {
	V int `json:"v"` // 1
	archive.Takedown
	Groups int   `json:"groups"` // stored ones that are held apart, or were until now
	Bytes  int64 `json:"bytes"`  // of these
	Purged int   `json:"purged"` // groups that were removed
}

// TakedownsRecord is the record of takedowns.
type TakedownsRecord struct {
	V         int              `json:"v"` // 1
	Takedowns []TakedownRecord `json:"takedowns"`
}

// orders carries out orders about takedowns.
type orders struct {
	ts    *archive.Takedowns
	st    *store.Store
	audit *auth.Audit
}

func (o orders) do(who, name string, args json.RawMessage) (any, error) {
	switch name {
	case TakedownAdd:
		var t TakedownOrder
		if err := admin.Arguments(args, &t); err != nil {
			return nil, err
		}
		return o.add(who, t)
	case TakedownLift:
		var l LiftOrder
		if err := admin.Arguments(args, &l); err != nil {
			return nil, err
		}
		return o.lift(who, l.ID)
	}
	if err := admin.Arguments(args, &struct{}{}); err != nil {
		return nil, err
	}
	return o.list()
}

func (o orders) add(who string, t TakedownOrder) (any, error) {
	d, err := o.ts.Add(t.Terms, time.Now())
	if d.ID == "" {
		return nil, err
	}
	r := o.record(d)
	if t.Purge {
		var perr error
		r.Purged, _, perr = o.st.Purge(d.Covers())
		err = errors.Join(err, perr)
	}
	e := auth.Entry{What: "takedown", Who: who, Subject: d.ID, Detail: d.String()}
	if t.Purge {
		e.What = "takedown-purge"
	}
	if d.Note != "" {
		e.Detail += " (" + d.Note + ")"
	}
	if err != nil {
		e.Err = err.Error()
	}
	o.audit.Add(e)
	return r, err
}

func (o orders) lift(who, id string) (any, error) {
	list, err := o.ts.List()
	if err != nil {
		return nil, err
	}
	var r TakedownRecord
	for _, d := range list {
		if d.ID == id {
			r = o.record(d)
		}
	}
	d, err := o.ts.Lift(id)
	if d.ID == "" {
		return nil, err
	}
	e := auth.Entry{What: "lift", Who: who, Subject: d.ID, Detail: d.String()}
	if err != nil {
		e.Err = err.Error()
	}
	o.audit.Add(e)
	return r, err
}

func (o orders) list() (any, error) {
	list, err := o.ts.List()
	if err != nil {
		return nil, err
	}
	all := TakedownsRecord{V: 1, Takedowns: []TakedownRecord{}}
	for _, d := range list {
		all.Takedowns = append(all.Takedowns, o.record(d))
	}
	return all, nil
}

func (o orders) record(d archive.Takedown) TakedownRecord {
	r := TakedownRecord{V: 1, Takedown: d}
	r.Groups, r.Bytes = o.st.Held(d.Covers())
	return r
}

// handleTakedowns adds the commands that have to do with takedowns to the operators' door.
func (r *Relay) handleTakedowns(door *admin.Server) {
	o := orders{ts: r.c.Takedowns, st: r.store, audit: r.c.Audit}
	for _, name := range []string{TakedownAdd, TakedownList, TakedownLift} {
		door.Handle(name, func(ctx context.Context, args json.RawMessage) (any, error) {
			record, err := o.do(admin.Who(ctx), name, args)
			if err == nil && name != TakedownList {
				d := record.(TakedownRecord)
				r.log.Warn("takedown", "order", name, "takedown", d.ID, "what", d.String(), "groups", d.Groups, "purged", d.Purged, "by", admin.Who(ctx))
			}
			return record, err
		})
	}
}

// TakedownsOnFolder carries out an order about takedowns in a folder on which no relay runs, for a user.
func TakedownsOnFolder(dir string, c store.Config, who, name string, args any) (record json.RawMessage, err error) {
	c.ReadOnly, c.NoIndex = name == TakedownList, true
	st, err := store.Open(dir, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	o := orders{st: st}
	if o.ts, err = archive.OpenTakedowns(dir, st); err != nil {
		return nil, err
	}
	if name != TakedownList {
		if o.audit, err = auth.OpenAudit(filepath.Join(dir, auth.AuditFile), nil); err != nil {
			return nil, exit.With(exit.IO, err, "what is not written down is not done")
		}
		defer o.audit.Close()
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	if args == nil {
		b = nil
	}
	answer, err := o.do(who, name, b)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}
