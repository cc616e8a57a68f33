// Package home publishes chosen channels for good, without anybody looking after it: it finds devices, gives their tuners to multiplexes,
// and keeps the programs running that receive, cut and publish.
//
// For each tuner there is one ec-tune, whose stream goes to the ec-chop of each of its channels, and each of those to an ec-pub:
//
//	ec-tune ch533000000 ─┬─▶ ec-chop --program 3 ─▶ ec-pub
//	                     └─▶ ec-chop --program 4 ─▶ ec-pub
//
// A [Config] goes in; log lines, one for each change of a channel, and a line for people come out. docs/home.md says how it is run.
package home

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
)

// Config says what to receive and where to publish it.
type Config struct {
	// Channels are numbers or names of a lineup, those first that must have a tuner; "*" is every one that is not protected.
	Channels []string
	// Devices are as ec-tune --device takes them. Default: all that answer.
	Devices []string
	// MaxTuners is how many tuners may be used. Default 0: as many as there are.
	MaxTuners int
	// Source begins the names of the sources, with the channel's number behind it.
	Source string
	// Chop and Pub are flags of ec-chop and ec-pub for every channel; Relays are the arguments of ec-pub.
	Chop, Pub, Relays []string
	// Spool is a folder below which each channel has a spool of its own. Default: none.
	Spool string
	// State is a folder in which is kept how tuners receive, for the channels' health tracks. Default: none.
	State string
	// Programs are run.
	Programs Programs
	// Log takes events. Default: none.
	Log *slog.Logger
	// Status takes a line for people about once a second. Default: nobody.
	Status func(line string)
	// Ready is called when everything was started, and Alive about once a second with a short line as long as nothing is stuck. Default: nobody.
	Ready func()
	Alive func(line string)

	survey func(ctx context.Context, devices []string) ([]Device, error) // tests replace what follows
	whole  func(ctx context.Context, base string, hz int64) bool         //
	run    runner                                                        //
}

const (
	surveyEvery = 5 * time.Minute
	// surveyGap is the least time between two surveys. It grows while nothing changes.
	surveyGap, longestGap = 5 * time.Second, time.Minute
	surveyTime            = 30 * time.Second
	// oneEach bounds what the log has of a program: a line again only after this time.
	oneEach = 10 * time.Minute
)

// tuneArgs are those of ec-tune, which keeps in a file how the tuner receives, if there is one.
func (c *Config) tuneArgs(r Receiver, health string) []string {
	args := []string{"--device", r.Base, "--output", "-"}
	if health != "" {
		args = append(args, "--health", health)
	}
	return append(args, r.Address)
}

func (c *Config) chopArgs(ch Channel) []string {
	args := []string{"--output", "-", "--source", c.sourceOf(ch.Number)}
	if ch.Program > 0 {
		args = append(args, "--program", fmt.Sprint(ch.Program))
	}
	if c.State != "" {
		args = append(args, "--tuner", c.healthOf(ch.Number))
	}
	return append(args, c.Chop...)
}

func (c *Config) pubArgs(ch Channel) []string {
	args := []string{"--retry", "87600h"} // the relay may be away for as long as it likes
	if c.Spool != "" {
		args = append(args, "--spool", filepath.Join(c.Spool, fileName(ch.Number)))
	}
	return append(append(args, c.Pub...), c.Relays...)
}

// healthOf is where a channel's ec-chop reads how its tuner receives: a link to the file of whichever tuner that is.
func (c *Config) healthOf(number string) string { return filepath.Join(c.State, fileName(number)) }

// sourceOf is the name of a channel's source, the same at every start: programs of two multiplexes may have one number.
func (c *Config) sourceOf(number string) string { return c.Source + "_" + fileName(number) }

// fileName is a channel's number as part of a name.
func fileName(number string) string { return strings.ReplaceAll(number, ".", "_") }

// isSource reports whether a namespace is a source's.
func isSource(namespace string) bool { return strings.HasPrefix(namespace, "ec-source-") }

// home is one Run.
type home struct {
	cfg Config
	log *slog.Logger
	run runner

	asked chan Receiver // for a survey: the multiplex that did not come as a whole, or none

	// What follows belongs to the goroutine of Run.
	planner    planner
	devices    []Device
	receivers  map[string]*receiver
	made       int         // how many receivers there were
	order      []*receiver // as planned
	publishers map[string]*publisher
	missing    map[string]string
	bytes      int64 // of receivers that are no more
	restarts   int64
	lastErr    string
	started    time.Time
	rate       speed
	wg         sync.WaitGroup

	often often
}

// Survey finds out what Run would receive, and what not.
func Survey(ctx context.Context, cfg Config) ([]Receiver, []Missing, error) {
	devices, err := survey(ctx, cfg.Devices)
	if len(devices) == 0 && err == nil {
		err = errNoDevice
	}
	if len(devices) == 0 {
		return nil, nil, exit.With(exit.Unreachable, err, "")
	}
	p := planner{want: cfg.Channels, maxTuners: cfg.MaxTuners}
	receivers, missing := p.plan(devices, nil)
	return receivers, missing, nil
}

var errNoDevice = errors.New("no device found")

// Run publishes until ctx ends, and returns the cause of that. All tuners have been given back when Run returns.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.survey == nil {
		cfg.survey, cfg.whole, cfg.run = survey, givesWhole, &cfg.Programs
	}
	h := &home{cfg: cfg, log: cfg.Log, run: cfg.run, asked: make(chan Receiver, 16), started: time.Now(),
		planner:   planner{want: cfg.Channels, maxTuners: cfg.MaxTuners, single: map[string]bool{}},
		receivers: map[string]*receiver{}, publishers: map[string]*publisher{}, missing: map[string]string{}}
	h.loop(ctx)
	h.end()
	return context.Cause(ctx)
}

// found is what a survey brought.
type found struct {
	devices []Device
	err     error
	single  string // a multiplex that its device does not give as a whole
}

// loop surveys, plans, and looks at everything once a second.
func (h *home) loop(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	results := make(chan found, 1)
	defer h.wg.Wait()
	var surveying, wanted bool
	var suspect Receiver
	var last time.Time
	gap := surveyGap
	begin := func() {
		surveying, wanted, last = true, false, time.Now()
		about := suspect
		suspect = Receiver{}
		h.wg.Go(func() {
			asking, stop := context.WithTimeout(ctx, surveyTime)
			defer stop()
			var f found
			if about.Whole && !h.cfg.whole(asking, about.Base, about.Hz) {
				f.single = multiplex(about.Base, about.Hz)
			}
			f.devices, f.err = h.cfg.survey(asking, h.cfg.Devices)
			results <- f
		})
	}
	begin()
	ready := false
	for {
		select {
		case <-ctx.Done():
			return
		case about := <-h.asked:
			wanted = true
			if about.Whole {
				suspect = about
			}
		case f := <-results:
			surveying = false
			if ctx.Err() != nil {
				return
			}
			if h.take(ctx, f) {
				gap = surveyGap
			} else {
				gap = min(2*gap, longestGap)
			}
			if !ready {
				ready = true
				if h.cfg.Ready != nil {
					h.cfg.Ready()
				}
			}
		case <-tick.C:
			wanted = h.tick() || wanted
		}
		if since := time.Since(last); !surveying && (wanted && since >= gap || since >= surveyEvery) {
			begin()
		}
	}
}

// look asks for a survey, because something is not as planned; plan is a multiplex that did not come as a whole, or none.
func (h *home) look(plan Receiver) {
	select {
	case h.asked <- plan:
	default: // enough have asked
	}
}

// take takes the result of a survey, and reports whether it changes anything.
func (h *home) take(ctx context.Context, f found) (changed bool) {
	if f.single != "" && !h.planner.single[f.single] {
		h.planner.single[f.single] = true
		h.log.Warn("the device gives no whole multiplex: each of its channels needs a tuner", "multiplex", f.single)
	}
	why := ""
	switch {
	case f.err != nil:
		why = f.err.Error()
	case len(f.devices) == 0:
		why = errNoDevice.Error()
	}
	if why != "" && why != h.lastErr {
		h.log.Warn("devices do not answer", "err", why)
	}
	if h.lastErr = why; why != "" && len(f.devices) == 0 && len(h.devices) == 0 {
		return false
	}
	h.devices = remember(f.devices, h.devices)
	var before []Receiver
	for _, r := range h.order {
		before = append(before, r.now())
	}
	receivers, missing := h.planner.plan(h.devices, before)
	h.missed(missing)
	return h.apply(ctx, receivers)
}

// missed tells what nobody receives, once.
func (h *home) missed(missing []Missing) {
	now := map[string]string{}
	for _, m := range missing {
		if now[m.Channel] = m.Why; h.missing[m.Channel] != m.Why {
			h.log.Warn("channel is not received", "channel", m.Channel, "why", m.Why)
		}
	}
	h.missing = now
}

// apply makes what runs be what is planned, and reports whether it was not.
func (h *home) apply(ctx context.Context, plan []Receiver) (changed bool) {
	keep, channels := map[string]bool{}, map[string]bool{}
	for _, r := range plan {
		keep[r.key()] = true
		for _, c := range r.Channels {
			channels[c.Number] = true
		}
	}
	// Tuners that are given back first may be the ones that are needed.
	var leaving []*receiver
	for key, r := range h.receivers {
		if !keep[key] {
			leaving, changed = append(leaving, r), true
			r.stop()
			delete(h.receivers, key)
		}
	}
	gone := make(chan struct{})
	h.wg.Go(func() {
		defer close(gone)
		for _, r := range leaving {
			<-r.done
		}
	})
	for _, r := range leaving {
		h.bytes, h.restarts = h.bytes+r.bytes.Load(), h.restarts+max(r.starts.Load()-1, 0)
	}
	for number, p := range h.publishers {
		if !channels[number] {
			changed = true
			p.stop()
			delete(h.publishers, number)
		}
	}
	h.order = h.order[:0]
	var before <-chan struct{} = gone
	for _, r := range plan {
		for _, c := range r.Channels {
			if p := h.publishers[c.Number]; p != nil {
				p.set(c)
				continue
			}
			changed = true
			p := newPublisher(h, c)
			running, stop := context.WithCancel(ctx)
			p.stop = stop
			h.publishers[c.Number] = p
			h.wg.Go(func() { p.run(running) })
		}
		w := h.receivers[r.key()]
		if w == nil {
			changed = true
			w = newReceiver(h, r, before)
			running, stop := context.WithCancel(ctx)
			w.stop = stop
			w.last.Store(time.Now().Add(-silentAfter).UnixNano())
			h.receivers[r.key()] = w
			w.feed(r, h.publishers)
			h.wg.Go(func() { w.run(running) })
			before = w.turn
		} else {
			w.feed(r, h.publishers)
		}
		h.order = append(h.order, w)
	}
	return changed
}

// tick looks at every channel, tells what has changed, and reports whether a survey would be good.
func (h *home) tick() (survey bool) {
	now := time.Now()
	on, rate := 0, int64(0)
	off := ""
	for _, r := range h.order {
		plan := r.now()
		silent := r.silent(now) >= silentAfter
		survey = survey || silent
		rate += r.bytes.Load()
		for _, c := range plan.Channels {
			p := h.publishers[c.Number]
			if lost := p.queue.lost(); lost > 0 {
				if p.dropped.Add(lost) == lost {
					h.log.Warn("ec-chop is too slow: a part of the stream is left out", "channel", c.Number, "bytes", lost)
				}
			}
			published, namespace, why := p.state()
			is := !silent && published
			switch {
			case is:
				on++
			case silent:
				if why = r.reason(); why == "" {
					why = "nothing comes from the device"
				}
			case why == "":
				why = "not published yet"
			}
			h.turn(p, c, plan, is, namespace, why, now)
			if !is && off == "" {
				off = fmt.Sprintf(" · %s: %s", c.Number, why)
			}
		}
	}
	for number, why := range h.missing {
		if off == "" {
			off = fmt.Sprintf(" · %s: %s", number, why)
		}
	}
	all := len(h.publishers) + len(h.missing)
	line := fmt.Sprintf("%d of %d channels on the air, %d tuners", on, all, len(h.order))
	if h.cfg.Alive != nil {
		h.cfg.Alive(line + off)
	}
	if h.cfg.Status != nil {
		mbit := h.rate.add(now, rate+h.bytes)
		h.cfg.Status(fmt.Sprintf("%s, %.1f Mbit/s, %d restarts%s", line, mbit, h.countRestarts(), off))
	}
	return survey
}

// turn tells when a channel goes on or off the air, and why it is off when that is known later or changes.
func (h *home) turn(p *publisher, c Channel, r Receiver, is bool, namespace, why string, now time.Time) {
	attrs := []any{"channel", c.Number, "name", c.Name, "device", r.ID}
	switch {
	case is && !p.onAir:
		p.since = now
		h.log.Info("on the air", append(attrs, "broadcast", namespace)...)
	case !is && p.onAir:
		p.total += now.Sub(p.since)
		p.offs++
		h.log.Warn("off the air", append(attrs, "why", why)...)
	case !is && !p.announced && now.Sub(h.started) > silentAfter:
		p.announced = true
		h.log.Warn("not on the air yet", append(attrs, "why", why)...)
	}
	p.onAir, p.announced, p.lastWhy = is, p.announced || is, why
}

// end stops everything and says what there was.
func (h *home) end() {
	now := time.Now()
	least, worst := math.Inf(1), ""
	lasted := now.Sub(h.started)
	var dropped int64
	offs := 0
	for _, number := range slices.Sorted(maps.Keys(h.publishers)) {
		p := h.publishers[number]
		if p.onAir {
			p.total += now.Sub(p.since)
		}
		if part := 100 * float64(p.total) / float64(max(lasted, 1)); part < least {
			least, worst = part, number
		}
		dropped, offs = dropped+p.dropped.Load(), offs+p.offs
	}
	bytes := h.bytes
	for _, r := range h.order {
		bytes += r.bytes.Load()
	}
	attrs := []any{"channels", len(h.publishers), "missing", len(h.missing), "tuners", len(h.order), "seconds", lasted.Round(time.Second).Seconds(),
		"bytes", bytes, "restarts", h.countRestarts(), "off_air", offs, "dropped", dropped}
	if worst != "" {
		attrs = append(attrs, "least", worst, "on_air_percent", math.Round(least*100)/100)
	}
	h.log.Info("home ended", attrs...)
}

func (h *home) countRestarts() int64 {
	n := h.restarts
	for _, r := range h.order {
		n += max(r.starts.Load()-1, 0)
	}
	for _, p := range h.publishers {
		n += max(p.starts.Load()-1, 0)
	}
	return n
}

// tell says that a program ended, which it should not.
func (h *home) tell(err error, attrs ...any) {
	attrs = append(attrs, "err", err)
	if e, ok := errors.AsType[*ended](err); ok && e.Advice != "" {
		attrs = append(attrs, "hint", e.Advice)
	}
	h.often.warn(h.log, "program ended, starting it again", attrs...)
}

// say returns what takes a program's log lines: warnings go on, once in a while each, and all else with -v only. about are the attributes that
// say whose program it is; heard gets every line first.
func (h *home) say(about func() []any, heard func(event)) func(event) {
	return func(e event) {
		heard(e)
		attrs := append(append(about(), "program", e.program), e.attrs...)
		switch {
		case e.level < slog.LevelWarn, strings.HasSuffix(e.msg, "trying again"): // of which the channel's own line tells
			h.log.Debug(e.msg, attrs...)
		default:
			h.often.log(h.log, e.level, e.msg, attrs...)
		}
	}
}
