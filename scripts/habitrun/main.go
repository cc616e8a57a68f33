// Command habitrun puts broadcasts of ec-sim with each of its habits through ec-chop, or the whole chain to a viewer, and prints
// what comes out, a row for each. scripts/habits builds the tools and runs it. It looks from outside: at what the tools write.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"every.channel/ec/lib/object"
)

// A row is one broadcast: habits and other flags of ec-sim, and on which channels it differs from the ordinary.
type row struct {
	name   string
	flags  []string
	only   string        // one channel, when the others are not affected
	start  time.Time     // instead of startAt
	jumps  time.Duration // how often the clock jumps
	free   bool          // nothing is promised: not legal, not readable, or without an identity
	viewer bool          // nothing is promised of what the viewer gets
}

var startAt = time.Date(2026, 3, 14, 12, 0, 7, 0, time.UTC)

// The channels, one of each standard.
const atsc, dvb = "5.2", "101"

var programs = map[string]uint16{atsc: 4, dvb: 28006, "5.1": 3}

func rows() (all []row) {
	add := func(only string, names ...string) {
		for _, n := range names {
			r := row{name: n, only: only}
			for h := range strings.FieldsSeq(n) {
				r.flags = append(r.flags, "--habit", h)
			}
			all = append(all, r)
		}
	}
	flags := func(only, name string, flags ...string) { all = append(all, row{name: name, only: only, flags: flags}) }
	all = append(all, row{name: "plain"})
	add("", "pcr=payload", "pcr=payload pcr-every=25ms", "pcr=bare", "pcr=mixed pcr-every=20ms", "pcr=own-pid", "pcr=cadence", "pcr=needed", "pcr=needed pcr-every=20ms", "pcr=none", "disc-every", "disc-first",
		"stuffing=bare", "stuffing=field", "stuffing=filler")
	flags("", "--rate 12000000 --full-mux", "--rate", "12000000", "--full-mux")
	add("", "duplicates", "duplicates=2", "scte35", "subtitles", "teletext", "sections", "data", "scte35 subtitles teletext sections data", "silent-audio",
		"second-audio", "second-audio=60s/29s", "pes-size", "pes-size=256", "pes-units", "pes-units=25", "parameter-sets", "still", "still=10s", "radio", "pat-sections",
		"pmt-change", "pmt-version", "tables-every=500ms", "tables-every=2s", "time-jitter", "time-jitter=5s")
	add(dvb, "time-tables=tdt", "time-tables=tot", "tdt-wrong")
	add(atsc, "stt-protocol", "vct-other")
	add("", "next", "rename", "private-ids")
	add(atsc, "one-part")
	add(dvb, "charset=gb2312", "charset=big5", "charset=ksx1001")
	all = append(all,
		row{name: "dst", flags: []string{"--habit", "dst"}, start: time.Date(2026, 3, 29, 0, 55, 7, 0, time.UTC)},
		row{name: "leap", flags: []string{"--habit", "leap"}, start: time.Date(2026, 6, 30, 23, 55, 7, 0, time.UTC)})
	add("", "drift", "drift=-30")
	flags("", "--wrap-at +3m", "--wrap-at", startAt.Add(3*time.Minute).Format(time.RFC3339))
	flags("", "--offset 29m30s", "--offset", "29m30s")
	flags("", "--offset -30m30s", "--offset", "-30m30s")
	add("", "step", "step=-4s/1m", "step=1h/1m", "step=-4s/1m silent", "splice", "splice=6s/1m/15s", "splice=6s/1m/15s silent", "restart", "restart=2m", "restart=2m counters",
		"restart=2m counters silent", "scrambled", "pes-scrambled")
	add("5.1", "low-pids")
	add(dvb, "low-pids")
	for i := range all {
		r := &all[i]
		has := func(what string) bool { return strings.Contains(r.name, what) }
		r.free = has("silent") && !has("silent-audio") || has("scrambled") || has("private-ids") || has("pcr=none") || has("counters")
		// After a restart the simulated broadcast sends the very same pictures again, so that they cannot be told apart; of a clock set by
		// hours, ec-sub reads the past of one timeline.
		r.viewer = r.free || has("restart") || has("step=1h")
		if name, _, _ := strings.Cut(strings.Fields(r.name)[0], "="); name == "step" || name == "splice" || name == "restart" {
			r.jumps = 20 * time.Second
			if has("1m") || has("2m") {
				r.jumps = time.Minute
			}
			if name == "splice" {
				r.jumps /= 2
			}
		}
	}
	return all
}

type config struct {
	bin      string
	minutes  float64
	chain    bool
	seconds  int
	only     string
	markdown bool
	check    bool
	verbose  bool
	broken   int // promises, with check
}

func main() {
	var c config
	flag.StringVar(&c.bin, "bin", "", "folder `DIR` of the tools")
	flag.Float64Var(&c.minutes, "minutes", 10, "`MINUTES` of each broadcast")
	flag.BoolVar(&c.chain, "chain", false, "run the whole chain too")
	flag.IntVar(&c.seconds, "chain-seconds", 60, "`SECONDS` of broadcast that go through the chain")
	flag.StringVar(&c.only, "only", "", "`ROWS` to run, commas between")
	flag.BoolVar(&c.markdown, "markdown", false, "print a table for documents")
	flag.BoolVar(&c.check, "check", false, "fail where a chunk is not promoted that could be, or a picture is missing")
	flag.BoolVar(&c.verbose, "verbose", false, "show what the tools say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "habits: error:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

// exitCode is ec-sim's if that was 64: then --only names a habit that ec-sim does not know.
func exitCode(err error) int {
	if tool, ok := errors.AsType[*exec.ExitError](err); ok && tool.ExitCode() == 64 {
		return 64
	}
	return 1
}

func (c *config) run(ctx context.Context) error {
	todo := rows()
	if c.only != "" {
		wanted := strings.Split(c.only, ",")
		all := slices.DeleteFunc(todo, func(r row) bool { return !slices.Contains(wanted, r.name) })
		for _, w := range wanted {
			if !slices.ContainsFunc(all, func(r row) bool { return r.name == w }) { // one that no row has
				r := row{name: w}
				for h := range strings.FieldsSeq(w) {
					r.flags = append(r.flags, "--habit", h)
				}
				all = append(all, r)
			}
		}
		todo = all
	}
	head := []string{"habit", "channel", "chunks", "promoted", "share", "the rest"}
	if c.chain {
		head = append(head, "viewer", "broadcast", "at the source", "said")
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		if c.markdown {
			fmt.Println("| " + strings.Join(cells, " | ") + " |")
			return
		}
		fmt.Fprintln(out, strings.Join(cells, "\t"))
	}
	defer out.Flush() // also of what there is when a row fails
	line(head)
	if c.markdown {
		fmt.Println(strings.Repeat("|---", len(head)) + "|")
	}
	for _, r := range todo {
		for _, channel := range []string{atsc, "5.1", dvb} {
			if r.only != channel && (r.only != "" || channel == "5.1") {
				continue
			}
			cells, err := c.row(ctx, r, channel)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				return fmt.Errorf("%s on %s: %w", r.name, channel, err)
			}
			line(cells)
		}
	}
	if c.broken > 0 {
		return fmt.Errorf("%d promises broken: the lines marked with an exclamation mark", c.broken)
	}
	return nil
}

// atEnds is how many chunks of a broadcast can not be promoted: those before its identity and time were heard, which tables of DVB
// tell every 10 s, and the last. atJump is how many around a jump of the clock.
const atEnds, atJump = 5, 1

// breaks marks a cell with ! and counts it if check is asked for and wrong.
func (c *config) breaks(cell *string, wrong bool) {
	if c.check && wrong {
		*cell += " !"
		c.broken++
	}
}

func (c *config) row(ctx context.Context, r row, channel string) ([]string, error) {
	objects, _, _, err := c.chop(ctx, r, channel, time.Duration(c.minutes*float64(time.Minute)))
	if err != nil {
		return nil, err
	}
	chunks, err := c.manifest(ctx, objects)
	if err != nil {
		return nil, err
	}
	promoted, reasons := 0, map[string]int{}
	for _, m := range chunks {
		if m.Scope == "broadcast" {
			promoted++
		} else {
			reasons[m.Reason]++
		}
	}
	share := "–"
	if n := len(chunks); n > 0 {
		share = fmt.Sprintf("%.1f %%", 100*float64(promoted)/float64(n))
	}
	cells := []string{r.name, channel, fmt.Sprint(len(chunks)), fmt.Sprint(promoted), share, list(reasons)}
	allowed := atEnds
	if r.jumps > 0 {
		allowed += atJump * int(c.minutes*float64(time.Minute)/float64(r.jumps))
	}
	c.breaks(&cells[4], !r.free && len(chunks)-promoted > allowed)
	if !c.chain {
		return cells, nil
	}
	more, err := c.viewer(ctx, r, channel)
	return append(cells, more...), err
}

// list is "cut 1, unsynced 1".
func list(counts map[string]int) string {
	var all []string
	for reason, n := range counts {
		all = append(all, fmt.Sprintf("%s %d", reason, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// command is a tool, whose messages go to log.
func (c *config) command(ctx context.Context, log io.Writer, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Stderr = log
	if c.verbose {
		cmd.Stderr = io.MultiWriter(log, os.Stderr)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// chop is what ec-chop makes of a broadcast, the broadcast itself, and what ec-chop says.
func (c *config) chop(ctx context.Context, r row, channel string, length time.Duration) (objects, ts []byte, said string, err error) {
	start := startAt
	if !r.start.IsZero() {
		start = r.start
	}
	args := append([]string{"--at", start.Format(time.RFC3339), "--duration", length.String()}, r.flags...)
	var log bytes.Buffer
	if ts, err = c.command(ctx, &log, "ec-sim", append(args, "write", channel)...).Output(); err != nil {
		return nil, nil, "", fmt.Errorf("ec-sim: %w\n%s", err, log.String())
	}
	log.Reset()
	args = []string{"--source", "habits"}
	if slices.Contains(r.flags, "--full-mux") {
		args = append(args, "--program", fmt.Sprint(programs[channel]))
	}
	cmd := c.command(ctx, &log, "ec-chop", args...)
	cmd.Stdin = bytes.NewReader(ts)
	objects, err = cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil // an input that yields nothing is a result
	}
	return objects, ts, log.String(), err
}

// An entry of a manifest.
type entry struct {
	Group  uint64 `json:"group"`
	Track  string `json:"track"`
	Scope  string `json:"scope"`
	Reason string `json:"reason"`
}

// manifest is the last entry of each chunk of an object stream.
func (c *config) manifest(ctx context.Context, objects []byte) (map[string]entry, error) {
	var log bytes.Buffer
	cmd := c.command(ctx, &log, "ec-dump", "--json")
	cmd.Stdin = bytes.NewReader(objects)
	out, err := cmd.Output()
	if err != nil && len(objects) > 0 {
		return nil, fmt.Errorf("ec-dump: %w\n%s", err, log.String())
	}
	all := map[string]entry{}
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var line struct {
			Type  string `json:"type"`
			Entry entry  `json:"entry"`
		}
		if json.Unmarshal(s.Bytes(), &line) == nil && line.Type == "manifest" {
			all[fmt.Sprint(line.Entry.Track, " ", line.Entry.Group)] = line.Entry
		}
	}
	return all, s.Err()
}

var (
	fingerprintOf = regexp.MustCompile(`fingerprint=([0-9a-f]{64})`)
	addressOf     = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
)

// viewer sends a broadcast through a relay and counts pictures (of radio: PES packets) that come out: of the broadcast's
// namespace as a viewer asks for it, of as many as were broadcast from its first to its last; the same of the source.
func (c *config) viewer(ctx context.Context, r row, channel string) ([]string, error) {
	objects, ts, _, err := c.chop(ctx, r, channel, time.Duration(c.seconds)*time.Second)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	relayCtx, stop := context.WithCancel(ctx)
	defer stop()
	store, err := os.MkdirTemp("", "habits")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(store)
	var lost bytes.Buffer
	relay := c.command(relayCtx, &lost, "ec-relay", "--listen", "127.0.0.1:0", "--store", store)
	relay.Stderr = nil
	stderr, err := relay.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := relay.Start(); err != nil {
		return nil, err
	}
	s := bufio.NewScanner(stderr)
	var url, fingerprint string
	for (url == "" || fingerprint == "") && s.Scan() {
		if m := fingerprintOf.FindStringSubmatch(s.Text()); m != nil {
			fingerprint = m[1]
		}
		if m := addressOf.FindString(s.Text()); m != "" {
			url = "moqt://" + m
		}
	}
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, stderr) }()
	defer func() { stop(); <-drained; _ = relay.Wait() }()
	if url == "" || fingerprint == "" {
		return nil, errors.New("ec-relay did not start")
	}
	var log bytes.Buffer
	pub := c.command(ctx, &log, "ec-pub", "--block", "--fingerprint", fingerprint, url)
	pub.Stdin = bytes.NewReader(objects)
	said := ""
	if err := pub.Run(); err != nil {
		said = "ec-pub: " + err.Error()
	}
	// The namespaces that there are, by the objects.
	spaces := map[string]bool{}
	for reader := object.NewReader(bytes.NewReader(objects)); ; {
		o, err := reader.Next()
		if err != nil {
			break
		}
		if strings.HasPrefix(o.Track.Name.Name, "ts") {
			spaces[o.Track.Name.Namespace.String()] = true
		}
	}
	broadcast := framesOf(ts, programs[channel])
	var cells [2]string
	for space := range spaces {
		at := 0
		if strings.HasPrefix(space, "ec-source-") {
			at = 1
		}
		sub := c.command(ctx, &log, "ec-sub", "--ts", "--from", "first", "--to", "now", "--exit-at-end", "--idle", "3s", "--allow-gaps", "--fingerprint", fingerprint, url, space)
		out, err := sub.Output()
		if err != nil && said == "" {
			said = "ec-sub: " + err.Error()
		}
		got, of, foreign := compare(framesOf(out, 0), broadcast)
		cell := fmt.Sprintf("%d of %d", got, of)
		if foreign > 0 {
			cell += fmt.Sprintf(", %d never broadcast", foreign)
		}
		if at == 0 {
			c.breaks(&cell, !r.viewer && (got < of || of < len(broadcast)/2) || foreign > 0)
		}
		if cells[at] != "" {
			cell = cells[at] + "; " + cell
		}
		cells[at] = cell
	}
	for i := range cells {
		if cells[i] == "" {
			cells[i] = "–"
		}
	}
	c.breaks(&said, !r.free && said != "") // a tool failed
	return []string{cells[0], fmt.Sprint(len(broadcast)), cells[1], said}, nil
}
