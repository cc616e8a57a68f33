package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/relay"
	"every.channel/ec/lib/store"
)

// storeWords may follow the word store; list is what it does without one.
var storeWords = []string{"list", "check", "repair", "delete", "relist"}

// askStore carries out an order about the store of the relay that runs or, where none does, about the folder.
func askStore(c *cli.Context) error {
	word, names := "list", c.Args().Slice()[1:]
	if len(names) > 0 && slices.Contains(storeWords, names[0]) {
		word, names = names[0], names[1:]
	}
	o := archive.Order{Older: cmdutil.AgeOf(c, "older").Seconds()}
	switch {
	case len(names) > 1:
		return cmdutil.UsageError(fmt.Errorf("%q: store %s takes one name", names[1], word))
	case len(names) == 1 && names[0] == "":
		return cmdutil.UsageError(errors.New("the name is empty"))
	case len(names) == 1 && word == "relist":
		return cmdutil.UsageError(errors.New("store relist takes no name: it lists the whole bucket"))
	case len(names) == 1:
		o.Name = names[0]
	case word == "delete":
		return cmdutil.UsageError(cmdutil.Hint(errors.New("store delete names a track, or a namespace with all below it"), "ec-relay store lists them"))
	}
	if cmdutil.Given(c, "older") && (word != "delete" || o.Older <= 0) {
		return cmdutil.UsageError(errors.New("--older goes with store delete, and is positive"))
	}
	f := folder{c: c}
	switch word {
	case "check", "repair":
		o.Repair = word == "repair"
		return f.check(c.Context, o)
	case "relist":
		return f.relist(c.Context, o)
	case "delete":
		return show(f, c.Context, relay.StoreDelete, o, printDeleted)
	}
	o.Holes = true
	return show(f, c.Context, relay.StoreList, o, printStore)
}

// folder is the store that is asked about.
type folder struct{ c *cli.Context }

// do has the relay that runs carry out an order; if none runs, the folder is opened.
func (f folder) do(ctx context.Context, name string, o archive.Order) (json.RawMessage, error) {
	dir := f.c.String("store")
	record, err := admin.Call(ctx, dir, name, o)
	if !errors.Is(err, admin.ErrNoRelay) {
		return record, err
	}
	if !store.Exists(dir) {
		return nil, exit.With(exit.Unreachable, fmt.Errorf("%s is not a relay's folder, and no relay runs with it", dir), "--store DIR names the folder of the relay that is meant")
	}
	conf := store.Config{Logger: cmdutil.Logger(f.c)}
	if f.c.String("config") != "" { // it says what retention may have removed
		whole, err := configure(f.c)
		if err != nil {
			return nil, err
		}
		conf.MaxAge, conf.MaxBytes, conf.Rules = whole.Store.MaxAge, whole.Store.MaxBytes, whole.Store.Rules
		conf.Tier, conf.TierAfter, conf.TierMaxAge = whole.Store.Tier, whole.Store.TierAfter, whole.Store.TierMaxAge
	}
	return relay.OnFolder(ctx, dir, conf, name, o)
}

// show carries out an order and prints its record.
func show[T any](f folder, ctx context.Context, name string, o archive.Order, print func(io.Writer, T)) error {
	record, err := f.do(ctx, name, o)
	if err != nil {
		return err
	}
	return f.print(record, printer(print))
}

func (f folder) print(record json.RawMessage, table func(io.Writer, json.RawMessage) error) error {
	if f.c.Bool("json") {
		_, err := fmt.Fprintf(f.c.App.Writer, "%s\n", strings.TrimSpace(string(record)))
		return err
	}
	return table(f.c.App.Writer, record)
}

// check checks step by step, so that no answer of a relay takes long, and ends with an error if something is damaged.
func (f folder) check(ctx context.Context, o archive.Order) error {
	all := archive.Checked{Bad: []archive.Bad{}}
	for {
		record, err := f.do(ctx, relay.StoreCheck, o)
		if err != nil {
			return err
		}
		var step archive.Checked
		if err := json.Unmarshal(record, &step); err != nil {
			return fmt.Errorf("the relay's record: %w", err)
		}
		all.Add(step)
		if o.From = all.Next; o.From == nil {
			break
		}
	}
	record, err := json.Marshal(all)
	if err == nil {
		err = f.print(record, printer(printChecked))
	}
	left := 0
	for _, b := range all.Bad {
		if !b.Mended {
			left++
		}
	}
	switch {
	case err != nil:
		return err
	case left == 0 && all.Unread > 0:
		return exit.With(exit.Unreachable, fmt.Errorf("%d groups in the cold tier were not checked: %s", all.Unread, all.UnreadWhy),
			"the relay that runs asks the bucket; where none runs, --config FILE names it")
	case left == 0:
		return nil
	}
	hint := "ec-relay store repair keeps what is whole of them, and lets the rest come again"
	if o.Repair {
		hint = ""
	}
	return exit.With(exit.BadData, fmt.Errorf("damaged groups: %d", left), hint)
}

// relist lists the bucket of the cold tier step by step.
func (f folder) relist(ctx context.Context, o archive.Order) error {
	all := archive.Relisted{}
	for {
		record, err := f.do(ctx, relay.StoreRelist, o)
		if err != nil {
			return err
		}
		var step archive.Relisted
		if err := json.Unmarshal(record, &step); err != nil {
			return fmt.Errorf("the relay's record: %w", err)
		}
		all.Add(step)
		if o.After = all.After; o.After == "" {
			break
		}
	}
	record, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return f.print(record, printer(func(w io.Writer, r archive.Relisted) {
		fmt.Fprintf(w, "%d objects in the bucket, %d groups of them are known now that were not, %s\n", r.Keys, r.Taken, size(r.Bytes))
		if r.Other > 0 {
			fmt.Fprintf(w, "%d objects are no groups\n", r.Other)
		}
	}))
}

func printChecked(w io.Writer, c archive.Checked) {
	fmt.Fprintf(w, "%d groups checked, %s\n", c.Groups, size(c.Bytes))
	if c.Unread > 0 {
		fmt.Fprintf(w, "%d groups in the cold tier not checked: %s\n", c.Unread, c.UnreadWhy)
	}
	if len(c.Bad) > 0 {
		fmt.Fprintln(w, "\nTRACK\tGROUP\tWHOLE OBJECTS\tNOW\tWHY")
	}
	for _, b := range c.Bad {
		now := "damaged"
		switch {
		case b.Mended && b.Objects > 0:
			now = "waits for the rest"
		case b.Mended:
			now = "set aside"
		case b.Error != "":
			now = "not mended: " + b.Error
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", b.Track, b.Group, b.Objects, now, b.Why)
	}
}

func printDeleted(w io.Writer, d archive.Deleted) {
	fmt.Fprintf(w, "deleted %d groups of %d tracks, %s\n", d.Groups, d.Tracks, size(d.Bytes))
}

func printStore(w io.Writer, s relay.Stored) {
	printDisk(w, s.Store)
	if len(s.Tracks) > 0 {
		fmt.Fprintln(w, "\nTRACK\tGROUPS\tWHOLE\tMISSING\tSIZE\tIN TIER\tFIRST\tLAST\tOLDEST\tNEWEST")
	}
	for _, t := range s.Tracks {
		if t.Groups == 0 {
			fmt.Fprintf(w, "%s\t0\t0\t%d\t-\t-\t-\t-\t-\t-\n", t.Track, t.MissingCount)
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%d\t%d\t%s\t%s\n", t.Track, t.Groups, t.Whole, t.MissingCount, size(t.Bytes), inTier(t), t.First, t.Last,
			t.Oldest.UTC().Format(time.RFC3339), t.Newest.UTC().Format(time.RFC3339))
	}
	for _, t := range s.Tracks {
		printHoles(w, t.Track, "missing", t.Missing, t.MissingCount)
		printHoles(w, t.Track, "incomplete", t.Incomplete, t.IncompleteCount)
	}
}

// inTier says how much of a track lies in the cold tier.
func inTier(t relay.StoredTrack) string {
	if t.TierGroups == 0 {
		return "-"
	}
	return fmt.Sprintf("%d: %s", t.TierGroups, size(t.TierBytes))
}

// printHoles names the first groups that are missing.
func printHoles(w io.Writer, track, what string, groups []uint64, n int) {
	if n == 0 {
		return
	}
	const most = 10
	list := fmt.Sprint(groups[:min(len(groups), most)])
	if n > most {
		list += fmt.Sprintf(" and %d more", n-most)
	}
	fmt.Fprintf(w, "%s of %s: %s\n", what, track, strings.Trim(list, "[]"))
}
