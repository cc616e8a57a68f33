package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/relay"
)

// printers write the record of a command of the operators' door for people.
var printers = map[string]func(w io.Writer, record json.RawMessage) error{
	"status":  printer(printStatus),
	"ticket":  printer(printTicket),
	"tickets": printer(printTickets),
	"revoke":  printer(printRevoked),
	"pardon":  printer(printPardoned),

	"token":       printer(printToken),
	"tokens":      printer(printTokenList),
	"showtoken":   printer(printTokenShown),
	"revoketoken": printer(printTokenRevoked),

	"reload": printer(printReloaded),
}

// verbs are the words that ask a relay.
func verbs() []cmdutil.Verb {
	where := []string{"store", "config", "json"}
	return []cmdutil.Verb{
		{Name: "status", Usage: "what the relay does, and for whom", Flags: append(where[:3:3], "follow")},
		{Name: "store", Usage: "what it has of each track; check, repair, delete", Flags: append(where[:3:3], "older"), Words: storeWords},
		{Name: "pardon", Usage: "end the quarantine of homes, or of the HOME that status names", Flags: where},
		{Name: "ticket", Usage: "make a ticket, or list or revoke those there are", Flags: append(where[:3:3], "address", "expires", "uses", "note", "list", "revoke")},
		{Name: "token", Usage: "make a token with which others may publish or read; list, show, revoke", Flags: append(where[:3:3], "publish", "read", "for", "client", "token-limit", "subject", "note"), Words: tokenWords},
		{Name: "takedown", Usage: "neither take nor serve any more what is named; list, lift", Flags: append(where[:3:3], "from", "to", "hash", "purge", "name-only", "note"), Words: takedownWords},
		{Name: "reload", Usage: "have the relay read its configuration again, whole or not at all", Flags: where},
	}
}

// wordNames lists the words that ask a relay, for people.
func wordNames() string {
	var names []string
	for _, v := range verbs() {
		names = append(names, v.Name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// ask makes the running relay whose store is --store run a command, and prints its record.
func ask(c *cli.Context) error {
	word := c.Args().First()
	i := slices.IndexFunc(verbs(), func(v cmdutil.Verb) bool { return v.Name == word })
	if i < 0 {
		return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("%q is not %s", word, wordNames()), "without a word ec-relay is a relay"))
	}
	most := 1 + 2*min(len(verbs()[i].Words), 1)
	switch word {
	case "pardon":
		most = 2
	case "takedown":
		most = -1
	}
	if err := cmdutil.Args(c, 1, most); err != nil {
		return err
	}
	if err := onlyOf(c, verbs()[i].Flags); err != nil {
		return err
	}
	if err := cmdutil.ReadFile(c, onlyFlags...); err != nil {
		return err
	}
	switch word {
	case "store":
		return askStore(c)
	case "takedown":
		return askTakedown(c)
	}
	name, args, err := command(c, word)
	if err != nil {
		return err
	}
	if c.Bool("follow") {
		return follow(c, name, args)
	}
	record, err := admin.Call(c.Context, c.String("store"), name, args)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		_, err := fmt.Fprintf(c.App.Writer, "%s\n", strings.TrimSpace(string(record)))
		return err
	}
	return printers[name](c.App.Writer, record)
}

// onlyOf reports a flag of a word that is not the one asked for, or that is given to a relay.
func onlyOf(c *cli.Context, flags []string) error {
	for _, v := range verbs() {
		for _, name := range v.Flags {
			if isRelayFlag(name) || slices.Contains(flags, name) || !cmdutil.Given(c, name) {
				continue
			}
			return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("--%s goes with %s", name, v.Name), "ec-relay "+v.Name+" --"+name+" …"))
		}
	}
	return nil
}

// isRelayFlag reports whether a flag of a word is one of a relay without a word, too.
func isRelayFlag(name string) bool { return name == "store" || name == "config" }

// command returns the operator's command for a word and its flags, with arguments.
func command(c *cli.Context, word string) (name string, args any, err error) {
	id := c.String("revoke")
	switch {
	case word == "pardon":
		if c.NArg() > 1 && c.Args().Get(1) == "" {
			return "", nil, cmdutil.UsageError(errors.New("the home is empty"))
		}
		return word, relay.Pardon{Home: c.Args().Get(1)}, nil
	case word == "token":
		return tokenCommand(c)
	case word != "ticket":
		return word, nil, nil
	case id == "" && cmdutil.Given(c, "revoke"): // it would make a ticket
		return "", nil, cmdutil.UsageError(errors.New("--revoke is empty"))
	case id != "" && c.Bool("list"):
		return "", nil, cmdutil.UsageError(errors.New("--list and --revoke exclude each other"))
	}
	for _, other := range []string{"address", "expires", "uses", "note"} {
		switch {
		case !cmdutil.Given(c, other):
		case c.Bool("list"):
			return "", nil, cmdutil.UsageError(fmt.Errorf("--list and --%s exclude each other", other))
		case id != "":
			return "", nil, cmdutil.UsageError(fmt.Errorf("--revoke and --%s exclude each other", other))
		}
	}
	switch {
	case c.Bool("list"):
		return "tickets", nil, nil
	case id != "":
		return "revoke", relay.Revocation{ID: id}, nil
	}
	terms := mesh.Terms{Life: cmdutil.AgeOf(c, "expires"), Uses: c.Int("uses"), Note: c.String("note")}
	if err := terms.Check(); err != nil {
		return "", nil, cmdutil.UsageError(fmt.Errorf("--expires, --uses, --note: %w", err))
	}
	return word, relay.TicketOrder{Addresses: c.StringSlice("address"), Life: terms.Life.Seconds(), Uses: terms.Uses, Note: terms.Note}, nil
}

// printTicket prints the ticket alone, for scripts.
func printTicket(w io.Writer, t relay.TicketMade) { fmt.Fprintln(w, t.Ticket) }

func printRevoked(w io.Writer, r relay.Revoked) {
	fmt.Fprintf(w, "ticket %s revoked, sessions ended that came with it: %d\n", r.ID, r.Sessions)
}

func printPardoned(w io.Writer, p relay.Pardoned) {
	fmt.Fprintf(w, "quarantines ended: %d\n", p.Ends)
}

func printTickets(w io.Writer, l relay.TicketList) {
	if len(l.Tickets) == 0 {
		fmt.Fprintln(w, "no tickets")
		return
	}
	ticketTable(w, l.Tickets)
}

func ticketTable(w io.Writer, list []mesh.Ticket) {
	fmt.Fprintln(w, "TICKET\tMAY STILL COME\tEXPIRES\tNOTE")
	for _, t := range list {
		left, expires := "any number", "never"
		if t.Left != nil {
			if left = fmt.Sprintf("%d of %d", *t.Left, t.Uses); *t.Left == 0 {
				left = "none, spent"
			}
		}
		if t.Expires != nil {
			expires = t.Expires.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.ID, left, expires, t.Note)
	}
}

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
	if s.Mirror != nil {
		fmt.Fprintln(w, "mirror:", s.Mirror)
	}
	if s.Backfill != nil {
		fmt.Fprintln(w, "backfill:", s.Backfill)
	}
	if s.Takedowns > 0 {
		fmt.Fprintf(w, "takedowns: %d\n", s.Takedowns)
	}
	printScrub(w, s.Scrub)
	fmt.Fprintf(w, "objects %d received, %d corroborated, %d conflicting, %d refused, %d sent\n",
		s.Counters.Objects, s.Counters.Duplicates, s.Counters.Conflicts, s.Counters.Refused, s.Counters.SentObjects)
	if len(s.Sessions) > 0 {
		fmt.Fprintln(w, "\nSESSION\tOVER\tROLE\tDRAFT\tAGE\tPUBLISHES\tSENT TO IT\tGOT FROM IT")
	}
	for _, p := range s.Sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%v\t%d tracks\t%s\t%s\n", p.Peer, p.Path, p.Role, p.Draft, time.Since(p.Since).Round(time.Second), p.Publishes,
			size(int64(p.Sent.Bytes)), size(int64(p.Received.Bytes)))
	}
	if len(s.Tickets) > 0 {
		fmt.Fprintln(w)
		ticketTable(w, s.Tickets)
	}
	if len(s.Tracks) > 0 {
		fmt.Fprintln(w, "\nTRACK\tPUBLISHERS\tSUBSCRIBERS\tGROUP\tAGE\tLATENCY")
	}
	for _, t := range s.Tracks {
		group, age, latency := "-", "-", "-"
		if t.Group != nil {
			group = fmt.Sprint(*t.Group)
		}
		if t.Age != nil {
			age = seconds(*t.Age).String()
		}
		if t.Latency != nil {
			latency = fmt.Sprintf("%.1fs", *t.Latency)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", t.Track, t.Publishers, t.Subscribers, group, age, latency)
	}
	printHealth(w, s.Tracks)
	printSenders(w, s.Tracks)
}

// printHealth says how well sources receive that somebody publishes.
func printHealth(w io.Writer, tracks []relay.Track) {
	head := "\nSOURCE\tSIGNAL\tQUALITY\tMBIT/S\tCHUNKS\tPROMOTED\tDAMAGED\tLOST PACKETS\tERRORS\n"
	for _, t := range tracks {
		h := t.Health
		if h == nil || t.Publishers == 0 {
			continue
		}
		signal, quality := "-", "-"
		if h.Tuner != nil {
			signal, quality = percent(h.Tuner.Strength), percent(h.Tuner.Quality)
		}
		errs := "none"
		for _, c := range h.TR101290.Counters() {
			if c.N > 0 {
				errs = strings.TrimPrefix(errs+", ", "none, ") + fmt.Sprintf("%s %d", c.Name, c.N)
			}
		}
		if h.Silent > 0 {
			errs += fmt.Sprintf(", no chunk for %v", seconds(h.Silent))
		}
		source, _, _ := strings.Cut(t.Track, "--")
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%.2f\t%d\t%d\t%d\t%d\t%s\n", head, source, signal, quality, float64(h.Rate)/1e6, h.Chunks.All, h.Chunks.Promoted,
			h.Chunks.Damaged, h.Lost, errs)
		head = ""
	}
}

func percent(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprintf("%d%%", *n)
}

// printSenders says of tracks that several homes send who sends, and how far they agree.
func printSenders(w io.Writer, tracks []relay.Track) {
	var why []string
	head := "\nHOME\tTRACK\tSTATE\tOBJECTS\tCORROBORATED\tCONFLICTS\tAPART\tGROUPS CONFIRMED\tCONTRADICTED\tDISPUTED\n"
	for _, t := range tracks {
		if len(t.Senders) < 2 && !slices.ContainsFunc(t.Senders, func(p relay.Sender) bool { return p.Quarantined != nil || p.Apart > 0 }) {
			continue
		}
		for _, p := range t.Senders {
			state := "sends"
			switch {
			case p.Quarantined != nil:
				state = "quarantined until " + p.Quarantined.UTC().Format(time.RFC3339)
			case p.Standby == "rests":
				state = "rests"
			case p.Standby != "":
				state = "sends, a standby"
			}
			fmt.Fprintf(w, "%s%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", head, p.Home, t.Track, state, p.Objects, p.Corroborated, p.Conflicts,
				p.Apart, p.Confirmed, p.Contradicted, p.Disputed)
			head = ""
			if p.Strange != "" {
				why = append(why, fmt.Sprintf("%s, %s: %s", p.Home, t.Track, p.Strange))
			}
		}
	}
	for _, line := range why {
		fmt.Fprintln(w, line)
	}
}

// printScrub says how far stored groups were compared with their hashes.
func printScrub(w io.Writer, s *archive.Scrubbed) {
	if s == nil {
		fmt.Fprintln(w, "scrub off")
		return
	}
	state := "begins"
	switch {
	case s.Paused != "":
		state = "pauses: " + s.Paused
	case s.Over != nil:
		state = "was over at " + s.Over.UTC().Format(time.RFC3339)
	case s.Next != nil:
		state = fmt.Sprintf("is at %s group %d", s.Next.Track, s.Next.Group)
	}
	fmt.Fprintf(w, "scrub %s: %d groups, %s; %d were damaged, %d healed, %d wait for somebody who has them\n", state, s.Groups, size(s.Bytes), s.Bad, s.Healed, len(s.Waiting))
}

func printTier(w io.Writer, t relay.Tier) {
	if t.Bucket == "" {
		fmt.Fprintf(w, "of them %d groups in a cold tier, which is not configured, %s there\n", t.Groups, size(t.Bytes))
		return
	}
	fmt.Fprintf(w, "of them %d groups in the cold tier %s, %s there; %d wait\n", t.Groups, t.Bucket, size(t.Bytes), t.Waiting)
	if t.Age != nil {
		age := "for ever"
		if *t.Age > 0 {
			age = "for " + cmdutil.AgeText(seconds(*t.Age))
		}
		fmt.Fprintf(w, "keeps whole groups %s, there or here\n", age)
	}
	if t.Error != "" {
		since := ""
		if t.Since != nil {
			since = " since " + t.Since.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "moving to the cold tier paused%s: %s\n", since, t.Error)
	}
}

func printDisk(w io.Writer, d relay.Disk) {
	fmt.Fprintf(w, "store %s: %s in %d groups of %d tracks\n", d.Dir, size(d.Bytes), d.Groups, d.Tracks)
	if t := d.Tier; t != nil {
		printTier(w, *t)
	}
	var whole int64 // the bound of what no rule names, which is one of the whole store
	for _, b := range d.Retention {
		if b.Prefix == "" {
			whole = b.Bytes
		}
	}
	for _, b := range d.Retention {
		what := "others"
		if b.Prefix != "" {
			what = b.Prefix
		} else if len(d.Retention) == 1 {
			what = "all"
		}
		age, most := "for ever", "of any size"
		if b.Age > 0 {
			age = "for " + cmdutil.AgeText(seconds(b.Age))
		}
		switch {
		case b.Bytes > 0:
			most = "up to " + size(b.Bytes)
		case whole > 0:
			most = "within the " + size(whole) + " of all"
		}
		fmt.Fprintf(w, "keeps %s %s, %s\n", what, age, most)
	}
	printLeftOut(w, d)
}

// printLeftOut says why nothing is stored, and names what the relay does without.
func printLeftOut(w io.Writer, d relay.Disk) {
	if p := d.Paused; p != nil {
		fmt.Fprintf(w, "storing paused since %s: %s (%d objects not stored)\n", p.Since.Format(time.RFC3339), p.Why, p.Objects)
	}
	if d.LeftOut == 0 {
		return
	}
	fmt.Fprintf(w, "left out: %d parts of the store\n", d.LeftOut)
	for _, p := range d.Parts {
		fmt.Fprintf(w, "  %s: %s\n", p.Path, strings.TrimPrefix(p.Why, p.Path+": "))
	}
	if more := d.LeftOut - len(d.Parts); more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

// size writes a number of bytes for people.
func size(n int64) string {
	unit, f := 0, float64(n)
	for f >= 1024 && unit < 4 {
		f, unit = f/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGT"[unit])
}
