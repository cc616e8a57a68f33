package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/relay"
)

// printers write the record of a command of the operators' door for people.
var printers = map[string]func(w io.Writer, record json.RawMessage) error{
	"status": printer(printStatus),
	"store":  printer(printStore),
	"ticket": printer(printTicket),
}

// verbs are the commands, in order.
func verbs() []string { return slices.Sorted(maps.Keys(printers)) }

// ask has the relay that runs with its store in --store run a command, and prints its record.
func ask(c *cli.Context) error {
	name := c.Args().First()
	show := printers[name]
	if show == nil {
		return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("%q is not %s", name, strings.Join(verbs(), ", ")), "without a word ec-relay is a relay"))
	}
	if err := cmdutil.Args(c, 1, 1); err != nil {
		return err
	}
	if err := readFile(c); err != nil {
		return err
	}
	args, err := arguments(c, name)
	if err != nil {
		return err
	}
	record, err := admin.Call(c.Context, c.String("store"), name, args)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		_, err := fmt.Fprintf(c.App.Writer, "%s\n", strings.TrimSpace(string(record)))
		return err
	}
	return show(c.App.Writer, record)
}

// arguments are those of a command, from flags.
func arguments(c *cli.Context, name string) (any, error) {
	if name != "ticket" {
		return nil, nil
	}
	if c.Duration("expires") < 0 || c.Int("uses") < 0 {
		return nil, cmdutil.UsageError(errors.New("--expires and --uses may not be negative"))
	}
	return relay.TicketOrder{
		Addresses: c.StringSlice("address"), Life: c.Duration("expires").Seconds(), Uses: c.Int("uses"), Note: c.String("note"),
	}, nil
}

// printTicket prints nothing else, for scripts.
func printTicket(w io.Writer, t relay.TicketMade) { fmt.Fprintln(w, t.Ticket) }

// printer prints a record as a table.
func printer[T any](show func(w io.Writer, record T)) func(io.Writer, json.RawMessage) error {
	return func(w io.Writer, b json.RawMessage) error {
		var record T
		if err := json.Unmarshal(b, &record); err != nil {
			return fmt.Errorf("the relay's record: %w", err)
		}
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		show(tw, record)
		return tw.Flush()
	}
}

func printStatus(w io.Writer, s relay.Status) {
	fmt.Fprintf(w, "ec-relay %s, up %v\n", s.Version, seconds(s.Uptime))
	fmt.Fprintf(w, "fingerprint %s\nid %s\nlistening %s\n", s.Key.Fingerprint, s.Key.ID, strings.Join(append(s.Listen, s.HTTP...), " "))
	printDisk(w, s.Store)
	fmt.Fprintf(w, "objects %d received, %d corroborated, %d conflicting, %d refused, %d sent\n",
		s.Counters.Objects, s.Counters.Duplicates, s.Counters.Conflicts, s.Counters.Refused, s.Counters.SentObjects)
	if len(s.Sessions) > 0 {
		fmt.Fprintln(w, "\nSESSION\tPATH\tROLE\tDRAFT\tFOR\tSENDS\tSENT\tRECEIVED")
	}
	for _, p := range s.Sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%v\t%d\t%s\t%s\n", p.Peer, p.Path, p.Role, p.Draft, time.Since(p.Since).Round(time.Second), p.Publishes,
			size(int64(p.Sent.Bytes)), size(int64(p.Received.Bytes)))
	}
	if len(s.Tracks) > 0 {
		fmt.Fprintln(w, "\nTRACK\tPUBLISHERS\tSUBSCRIBERS\tGROUP\tAGE")
	}
	for _, t := range s.Tracks {
		group, age := "-", "-"
		if t.Group != nil {
			group = fmt.Sprint(*t.Group)
		}
		if t.Age != nil {
			age = seconds(*t.Age).String()
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", t.Track, t.Publishers, t.Subscribers, group, age)
	}
}

func printStore(w io.Writer, s relay.Stored) {
	printDisk(w, s.Store)
	if len(s.Tracks) > 0 {
		fmt.Fprintln(w, "\nTRACK\tGROUPS\tWHOLE\tSIZE\tFIRST\tLAST\tOLDEST\tNEWEST")
	}
	for _, t := range s.Tracks {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%d\t%s\t%s\n", t.Track, t.Groups, t.Whole, size(t.Bytes), t.First, t.Last,
			t.Oldest.Format(time.DateTime), t.Newest.Format(time.DateTime))
	}
}

func printDisk(w io.Writer, d relay.Disk) {
	fmt.Fprintf(w, "store %s: %s in %d groups of %d tracks\n", d.Dir, size(d.Bytes), d.Groups, d.Tracks)
	for _, b := range d.Retention {
		what := "others"
		if b.Prefix != "" {
			what = b.Prefix
		} else if len(d.Retention) == 1 {
			what = "all"
		}
		age, most := "for ever", "of any size"
		if b.Age > 0 {
			age = "for " + seconds(b.Age).String()
		}
		if b.Bytes > 0 {
			most = "up to " + size(b.Bytes)
		}
		fmt.Fprintf(w, "keeps %s %s, %s\n", what, age, most)
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

// size is a number of bytes for people.
func size(n int64) string {
	unit, f := 0, float64(n)
	for f >= 1024 && unit < 4 {
		f, unit = f/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %cB", f, " kMGT"[unit])
}
