package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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

// takedownWords may follow the word takedown; list is what it does without one.
var takedownWords = []string{"list", "add", "lift"}

// askTakedown carries out an order about takedowns, at the relay that runs or, where none does, in the folder.
func askTakedown(c *cli.Context) error {
	name, args, print, err := takedownCommand(c)
	if err != nil {
		return err
	}
	dir := c.String("store")
	record, err := admin.Call(c.Context, dir, name, args)
	if errors.Is(err, admin.ErrNoRelay) {
		record, err = takedownOnFolder(c, dir, name, args)
	}
	if err != nil {
		return err
	}
	return folder{c: c}.print(record, print)
}

func takedownOnFolder(c *cli.Context, dir, name string, args any) (json.RawMessage, error) {
	if !store.Exists(dir) {
		return nil, exit.With(exit.Unreachable, fmt.Errorf("%s is not a relay's folder, and no relay runs with it", dir), "--store DIR names the folder of the relay that is meant")
	}
	conf := store.Config{Logger: cmdutil.Logger(c)}
	if c.String("config") != "" { // it names the bucket from which is purged
		whole, err := configure(c)
		if err != nil {
			return nil, err
		}
		conf.Tier, conf.TierAfter = whole.Store.Tier, whole.Store.TierAfter
	}
	return relay.TakedownsOnFolder(dir, conf, fmt.Sprintf("uid %d", os.Getuid()), name, args)
}

// takedownCommand returns the operator's command for takedown and the words behind it, with arguments and what prints its record.
func takedownCommand(c *cli.Context) (name string, args any, print func(io.Writer, json.RawMessage) error, err error) {
	fail := func(err error) (string, any, func(io.Writer, json.RawMessage) error, error) {
		return "", nil, nil, cmdutil.UsageError(err)
	}
	word, rest := "list", c.Args().Slice()[1:]
	if len(rest) > 0 {
		if word, rest = rest[0], rest[1:]; !slices.Contains(takedownWords, word) {
			return fail(fmt.Errorf("takedown is followed by %s", strings.Join(takedownWords, ", ")))
		}
	}
	for _, flag := range []string{"from", "to", "hash", "purge", "name-only", "note"} {
		if word != "add" && cmdutil.Given(c, flag) {
			return fail(fmt.Errorf("--%s goes with takedown add", flag))
		}
	}
	switch {
	case word == "list" && len(rest) > 0:
		return fail(errors.New("takedown list takes no argument"))
	case word == "list":
		return relay.TakedownList, nil, printer(printTakedowns), nil
	case word == "lift" && len(rest) != 1:
		return fail(errors.New("takedown lift takes the ID of a takedown, as takedown list has it"))
	case word == "lift":
		return relay.TakedownLift, relay.LiftOrder{ID: rest[0]}, printer(printLifted), nil
	case len(rest) == 0 && c.String("hash") == "":
		return fail(cmdutil.Hint(errors.New("takedown add names tracks, namespaces with all below, or a hash"), "ec-relay takedown add --note 'order 12' ec-atsc-2065-3"))
	}
	o := relay.TakedownOrder{Terms: archive.Terms{Names: rest, Hash: c.String("hash"), Note: c.String("note"), NameOnly: c.Bool("name-only")}, Purge: c.Bool("purge")}
	for flag, to := range map[string]**time.Time{"from": &o.From, "to": &o.To} {
		if !cmdutil.Given(c, flag) {
			continue
		}
		at, err := when(c.String(flag), time.Now())
		if err != nil {
			return fail(fmt.Errorf("--%s: %w", flag, err))
		}
		*to = &at
	}
	return relay.TakedownAdd, o, printer(printTaken), nil
}

// when reads a time, or how long ago it was.
func when(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if age, err := cmdutil.ParseAge(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	return time.Time{}, fmt.Errorf("%q is neither a time such as 2026-11-23T20:00:00Z nor how long ago, such as 2h", text)
}

func printTaken(w io.Writer, r relay.TakedownRecord) {
	fmt.Fprintf(w, "takedown %s: %s\n", r.ID, r.Takedown)
	fmt.Fprintf(w, "%d groups in the store, %s, are held apart", r.Groups, size(r.Bytes))
	if r.Purged > 0 {
		fmt.Fprintf(w, ", and %d of them were removed", r.Purged)
	}
	fmt.Fprintln(w)
}

func printLifted(w io.Writer, r relay.TakedownRecord) {
	fmt.Fprintf(w, "lifted %s: %s\n%d groups are there again, %s\n", r.ID, r.Takedown, r.Groups, size(r.Bytes))
}

func printTakedowns(w io.Writer, l relay.TakedownsRecord) {
	if len(l.Takedowns) == 0 {
		fmt.Fprintln(w, "no takedowns")
		return
	}
	fmt.Fprintln(w, "TAKEDOWN\tSINCE\tGROUPS HELD\tSIZE\tWHAT\tNOTE")
	for _, r := range l.Takedowns {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", r.ID, r.Since.UTC().Format(time.RFC3339), r.Groups, size(r.Bytes), r.Takedown, r.Note)
	}
}

func printReloaded(w io.Writer, r relay.Reloaded) {
	if len(r.Changed) == 0 {
		fmt.Fprintln(w, "read again, no setting has changed")
		return
	}
	fmt.Fprintf(w, "read again, changed: %s\n", strings.Join(r.Changed, " "))
}
