//go:build linux

// Command lossyrun sends a programme of 8 Mbit/s over bad paths by the tools, by SRT and by HLS, and prints how much of it came and how
// late. scripts/lossy builds the tools and runs it. Each system has a lab of its own (lib/netlab) with the same seed; those of one
// row and way are measured at the same time.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"every.channel/ec/lib/netlab"
)

type config struct {
	bin     string // folder of the tools
	results string // file
	only    string
	ways    string
	systems string
	tcp     string
	seconds int
	seed    uint64
	keep    string
	out     io.Writer
}

// result is a line in the file of results.
type result struct {
	Row     string  `json:"row"`
	Way     string  `json:"way"`
	System  string  `json:"system"`
	Seconds int     `json:"seconds"`
	Seed    uint64  `json:"seed"`
	Time    string  `json:"time"`
	Load    string  `json:"load"`                // of the machine, after the cell
	TCP     string  `json:"tcp"`                 // congestion control
	Times   float64 `json:"times"`               // bytes that the encoder's side sent, × the programme's
	Beside  float64 `json:"neighbour,omitempty"` // Mbit/s of the download
	figures
}

func (r result) key() string { return fmt.Sprint(r.Row, "/", r.Way, "/", r.System, "/", r.Seconds) }

func main() {
	c := config{out: os.Stdout}
	flag.StringVar(&c.bin, "bin", "", "folder `DIR` of the tools")
	flag.StringVar(&c.results, "results", "lossy.jsonl", "`FILE` of results; what is in it is not measured again")
	flag.StringVar(&c.only, "only", "", "`ROWS` to measure, commas between")
	flag.StringVar(&c.ways, "ways", "up,down,browser,websocket", "`WAYS` to measure, commas between")
	flag.StringVar(&c.systems, "systems", "ec,srt,hls", "`SYSTEMS` to measure, commas between")
	flag.StringVar(&c.tcp, "tcp", "", "congestion `CONTROL` of TCP in the labs; default: the machine's")
	flag.IntVar(&c.seconds, "seconds", 20, "`SECONDS` of programme that count")
	flag.Uint64Var(&c.seed, "seed", 1, "`N` of chance")
	flag.StringVar(&c.keep, "logs", "", "folder `DIR` in which what programs say is kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lossy: error:", err)
		os.Exit(1)
	}
}

// run measures what is not in the file of results yet, and prints the table.
func (c *config) run(ctx context.Context) error {
	if err := needed(); err != nil {
		return err
	}
	done, err := c.read()
	if err != nil {
		return err
	}
	list, err := c.chosen()
	if err != nil {
		return err
	}
	for _, r := range list {
		for _, way := range r.ways {
			if err := c.cells(ctx, r, way, done); err != nil {
				return err
			}
		}
	}
	return c.table(list, done)
}

// chosen are the rows that --only names, with the ways that --ways names.
func (c *config) chosen() (list []row, err error) {
	list, err = c.named()
	for i := range list {
		list[i].ways = slices.DeleteFunc(list[i].ways, func(way string) bool { return !slices.Contains(strings.Split(c.ways, ","), way) })
	}
	return list, err
}

func (c *config) named() (list []row, err error) {
	if c.only == "" {
		return rows(), nil
	}
	for name := range strings.SplitSeq(c.only, ",") {
		was := len(list)
		for _, r := range rows() {
			if r.name == strings.TrimSpace(name) {
				list = append(list, r)
			}
		}
		if len(list) == was {
			var all []string
			for _, r := range rows() {
				all = append(all, r.name)
			}
			return nil, fmt.Errorf("no row %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	return list, nil
}

// read returns the results that are there.
func (c *config) read() (map[string]result, error) {
	done := map[string]result{}
	f, err := os.Open(c.results)
	if errors.Is(err, os.ErrNotExist) {
		return done, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		var r result
		if json.Unmarshal(in.Bytes(), &r) == nil { // a line that was torn is measured again
			done[r.key()] = r
		}
	}
	return done, in.Err()
}

// lasts is how long the programme of a row counts.
func (c *config) lasts(r row) time.Duration {
	if r.lasts > 0 {
		return r.lasts
	}
	return time.Duration(c.seconds) * time.Second
}

// cells measures the systems of one row and way that are not done, all at once.
func (c *config) cells(ctx context.Context, r row, way string, done map[string]result) error {
	begin := time.Now().Add(2 * time.Second)
	if way == browser { // which takes a while to start
		begin = begin.Add(8 * time.Second)
	}
	var todo []result
	for _, system := range systems[way] {
		cell := result{Row: r.name, Way: way, System: system, Seconds: int(c.lasts(r).Seconds()), Seed: c.seed}
		if _, ok := done[cell.key()]; !ok && slices.Contains(strings.Split(c.systems, ","), system) {
			todo = append(todo, cell)
		}
	}
	errs := make([]error, len(todo))
	var measuring sync.WaitGroup
	for i := range todo {
		measuring.Go(func() { errs[i] = c.measure(ctx, r, &todo[i], begin) })
	}
	measuring.Wait()
	for i, cell := range todo {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%s, %s, %s: %w", r.name, way, cell.System, errs[i])
			continue
		}
		if err := c.write(cell); err != nil {
			return err
		}
		done[cell.key()] = cell
		fmt.Fprintln(os.Stderr, cell.line())
	}
	return errors.Join(errs...)
}

// write appends a result to the file.
func (c *config) write(r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.results, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// measure fills in one cell.
func (c *config) measure(ctx context.Context, r row, cell *result, begin time.Time) (err error) {
	var params netlab.Params
	if err := params.Set(r.link); err != nil {
		return err
	}
	lab, err := netlab.New(c.seed, params, params)
	if err != nil {
		return err
	}
	p := &place{lab: lab, row: r, up: cell.Way == up, bin: c.bin}
	defer func() {
		err = errors.Join(err, p.close())
		if err != nil {
			if said := p.said(); said != "" {
				err = fmt.Errorf("%w\n%s", err, said)
			}
		}
		if c.keep == "" {
			os.RemoveAll(p.dir)
		}
	}()
	if c.keep != "" {
		if err := os.MkdirAll(c.keep, 0o755); err != nil {
			return err
		}
	}
	if p.dir, err = os.MkdirTemp(c.keep, strings.NewReplacer(" ", "-", "%", "", "/", "-").Replace(cell.key())+"-"); err != nil {
		return err
	}
	if err := os.Chmod(p.dir, 0o755); err != nil {
		return err
	}
	if cell.TCP, err = p.tcp(c.tcp); err != nil {
		return err
	}
	p.prog = newProgramme(begin, c.lasts(r))
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { p.happen(ctx) })
	beside.Go(func() { cell.Times = p.times(ctx) })
	if r.neighbour {
		l, err := p.serveBulk()
		if err != nil {
			return err
		}
		beside.Go(func() { cell.Beside = p.download(ctx, l) })
	}
	way := map[string]func(context.Context, *place) error{"ec": ec, "srt": srt, "hls": hls}[cell.System]
	switch cell.Way {
	case browser:
		way = browse
	case websocket:
		way = ecWebSocket
	}
	if err := way(ctx, p); err != nil {
		return err
	}
	stop()
	beside.Wait()
	cell.figures = p.prog.figures()
	cell.Time = time.Now().UTC().Format(time.RFC3339)
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		cell.Load, _, _ = strings.Cut(string(load), " ")
	}
	return nil
}

// happen changes the link as the row says.
func (p *place) happen(ctx context.Context) {
	for _, e := range p.row.at {
		at := p.prog.start.Add(leadTime + e.after)
		if at.After(p.prog.end()) || sleep(ctx, at) != nil {
			return
		}
		if err := p.lab.Apply(e.what); err != nil {
			fmt.Fprintf(os.Stderr, "lossy: error: %s: %v\n", e.what, err)
		}
	}
}

// times is how many bytes of IP packets the encoder's side sent while the programme counted, × the programme's.
func (p *place) times(ctx context.Context) float64 {
	way := p.lab.Right
	if p.up {
		way = p.lab.Left
	}
	if sleep(ctx, p.prog.start.Add(leadTime)) != nil {
		return 0
	}
	was := way.Counts().Bytes
	if sleep(ctx, p.prog.end()) != nil {
		return 0
	}
	return float64(way.Counts().Bytes-was) / float64((p.prog.number-p.prog.first)*objectSize)
}

// tcp is the congestion control of TCP at both sides, which is set if one is named.
func (p *place) tcp(set string) (name string, err error) {
	const file = "/proc/sys/net/ipv4/tcp_congestion_control"
	for _, side := range []netlab.Side{netlab.LeftSide, netlab.RightSide} {
		err := p.lab.In(side, func() error {
			if set != "" {
				if err := os.WriteFile(file, []byte(set), 0); err != nil {
					return err
				}
			}
			b, err := os.ReadFile(file)
			name = strings.TrimSpace(string(b))
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return name, nil
}

var errMissing = errors.New("missing")

// needed says what is missing without which nothing can be measured.
func needed() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: root, for network namespaces", errMissing)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("%w: /dev/net/tun", errMissing)
	}
	for _, name := range []string{"srt-live-transmit", "nginx", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %s", errMissing, name)
		}
	}
	return nil
}
