package home

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/ts"
)

// world is what a home sees of antennas and relays on a day on which much goes wrong.
type world struct {
	t  *testing.T
	mu sync.Mutex // guards what follows

	devices map[string]*fakeDevice // by base
	relayUp bool
	random  *rand.Rand

	tunes, publishes, crashes int
	mostTuners                map[string]int // by id
}

type fakeDevice struct {
	Device
	up     bool
	single bool // gives no whole multiplex
	inUse  int
}

func (w *world) is(f func() bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return f()
}

func (w *world) survey(ctx context.Context, _ []string) (list []Device, err error) {
	if !sleep(ctx, 400*time.Millisecond) {
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.devices {
		if d.up {
			list = append(list, d.Device)
		}
	}
	slices.SortFunc(list, func(a, b Device) int { return strings.Compare(a.Base, b.Base) })
	return list, nil
}

func (w *world) whole(_ context.Context, base string, _ int64) bool {
	return w.is(func() bool { return !w.devices[base].single })
}

// receive is ec-tune: 30 seconds of patience at the start, and none of its own end after that.
func (w *world) receive(ctx context.Context, args []string, out io.Writer, say func(event)) error {
	base, address := args[1], args[len(args)-1]
	w.mu.Lock()
	w.tunes++
	d := w.devices[base]
	w.mu.Unlock()
	if d == nil { // it has moved
		sleep(ctx, 30*time.Second)
		return &ended{Program: "ec-tune", Code: exit.Unreachable, Why: "no route to host"}
	}
	packet := make([]byte, 1000*ts.PacketSize)
	had, held := false, false
	defer func() {
		if held {
			w.is(func() bool { d.inUse--; return true })
		}
	}()
	for began := time.Now(); ; {
		var why string
		w.mu.Lock()
		switch {
		case !d.up, d.Base != base:
			why = "connection refused"
			if held {
				held = false
				d.inUse--
			}
		case d.single && strings.HasPrefix(address, "ch"):
			w.mu.Unlock()
			return &ended{Program: "ec-tune", Code: exit.Unreachable, Why: "801 Unknown Channel"}
		case !held && d.inUse >= d.Tuners:
			why = "805 All Tuners In Use"
		case !held:
			held = true
			d.inUse++
			w.mostTuners[d.ID] = max(w.mostTuners[d.ID], d.inUse)
		}
		crash := w.random.IntN(4*3600) == 0
		w.mu.Unlock()
		switch {
		case crash:
			return &ended{Program: "ec-tune", Code: -1, Why: "signal: killed"}
		case why != "" && !had && time.Since(began) > 30*time.Second:
			return &ended{Program: "ec-tune", Code: exit.Unreachable, Why: why}
		case why != "":
			say(event{program: "ec-tune", level: slog.LevelWarn, msg: "source failed, trying again", value: map[string]any{"err": why}})
			if !sleep(ctx, 9*time.Second) {
				return ctx.Err()
			}
			continue
		}
		had = true
		if _, err := out.Write(packet); err != nil {
			return err
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// publish is ec-chop and ec-pub, which wait for their relay for ever.
func (w *world) publish(ctx context.Context, chop, pub []string, q *queue, say func(event)) error {
	w.is(func() bool { w.publishes++; return true })
	connected := false
	for {
		b, err := q.next(ctx)
		if err != nil {
			return nil
		}
		b.release()
		up := w.is(func() bool { return w.relayUp })
		relay := map[string]any{"relay": "moqt://relay", "namespace": "ec-atsc-1-1", "err": "timed out"}
		switch {
		case up && !connected:
			say(event{program: "ec-pub", msg: "connected", value: relay})
			say(event{program: "ec-pub", msg: "publishing", value: relay})
		case !up && connected:
			say(event{program: "ec-pub", level: slog.LevelWarn, msg: "relay lost, trying again", value: relay})
		}
		connected = up
		if w.is(func() bool { return w.random.IntN(4*3600) == 0 }) {
			w.is(func() bool { w.crashes++; return true })
			return &ended{Program: "ec-chop", Code: 70, Why: "internal error"}
		}
	}
}

// journal is a log that knows which channels are on the air.
type journal struct {
	mu    sync.Mutex // guards what follows
	on    map[string]bool
	turns map[string]int
	lines int
	text  []string
}

func (j *journal) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler           { return j }
func (j *journal) WithGroup(string) slog.Handler                { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines++
	channel := ""
	line := r.Time.Format(time.TimeOnly) + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "channel" {
			channel = a.Value.String()
		}
		line += " " + a.String()
		return true
	})
	j.text = append(j.text, line)
	switch r.Message {
	case "on the air", "off the air":
		is := r.Message == "on the air"
		if j.on[channel] == is {
			return fmt.Errorf("%s twice: %s", channel, line)
		}
		j.on[channel] = is
		j.turns[channel]++
	}
	return nil
}

// TestADay: a day on which devices vanish and come back, one moves to another address, a relay is away and programs crash. Whenever what a
// channel needs has been there for some minutes, the channel is on the air; tuners are never used twice; the log stays short.
func TestADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := theDay
		if testing.Short() {
			day = min(day, 3*time.Hour)
		}
		const patience = 3 * time.Minute // the longest pause of a receiver and of a publisher, and a survey
		one := lineup("5.1 A 533 1", "5.2 B 533 2", "5.3 C 533 3", "5.4 D 533 4")
		two := lineup("7.1 E 545 1", "7.2 F 545 2", "7.3 G 545 3", "7.4 H 545 4")
		w := &world{t: t, relayUp: true, random: rand.New(rand.NewPCG(11, 5)), mostTuners: map[string]int{}, devices: map[string]*fakeDevice{
			"http://a": {Device: Device{Base: "http://a", ID: "A", Tuners: 2, Channels: append(slices.Clone(one), two...)}, up: true},
			"http://b": {Device: Device{Base: "http://b", ID: "B", Tuners: 1, Channels: one}, up: true},
		}}
		a := w.devices["http://a"]
		j := &journal{on: map[string]bool{}, turns: map[string]int{}}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the day is over")
		var alive int
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, Config{Channels: []string{"*"}, Log: slog.New(j), Alive: func(string) { alive++ }, survey: w.survey, whole: w.whole, run: w})
		}()

		start := time.Now()
		r := rand.New(rand.NewPCG(7, 3))
		aUp, bUp, relay := start, start, start // since when; zero: down
		next := map[string]time.Time{}         // when each changes
		changed := start                       // a device came or went
		outages := 0
		for time.Since(start) < day {
			time.Sleep(time.Second)
			now := time.Now()
			flip := func(name string, since *time.Time, set func(up bool)) {
				if next[name].IsZero() {
					next[name] = now.Add(time.Duration(20+r.IntN(100)) * time.Minute)
				}
				if now.Before(next[name]) {
					return
				}
				if since.IsZero() {
					*since, next[name] = now, now.Add(time.Duration(20+r.IntN(100))*time.Minute)
				} else {
					outages++
					*since, next[name] = time.Time{}, now.Add(time.Duration(5+r.IntN(20*60))*time.Second)
				}
				w.is(func() bool { set(!since.IsZero()); return true })
				if name != "relay" {
					changed = now
				}
			}
			flip("a", &aUp, func(up bool) {
				if a.up = up; up && a.Base == "http://a" && now.Sub(start) > day/3 { // its address is another one from now on
					delete(w.devices, a.Base)
					a.Base = "http://moved"
					w.devices[a.Base] = a
				}
			})
			flip("b", &bUp, func(up bool) { w.devices["http://b"].up = up })
			flip("relay", &relay, func(up bool) { w.relayUp = up })
			long := func(since time.Time) bool { return !since.IsZero() && now.Sub(since) > patience }
			if !long(relay) || !long(changed) {
				continue
			}
			j.mu.Lock()
			off := func(channels []string) (list []string) {
				for _, c := range channels {
					if !j.on[c] {
						list = append(list, c)
					}
				}
				return list
			}
			first, second := off([]string{"5.1", "5.2", "5.3", "5.4"}), off([]string{"7.1", "7.2", "7.3", "7.4"})
			j.mu.Unlock()
			// A crash of its own takes a channel off for a moment; several at once have another reason.
			if (!aUp.IsZero() || !bUp.IsZero()) && len(first) > 2 {
				t.Fatalf("%v: %v are off the air though a device is there\n%s", now.Sub(start), first, tail(j))
			}
			if !aUp.IsZero() && len(second) > 2 {
				t.Fatalf("%v: %v are off the air though their device is there\n%s", now.Sub(start), second, tail(j))
			}
		}
		cancel(why)
		if err := <-done; err != why {
			t.Errorf("ended with %v", err)
		}
		if a.Base == "http://a" {
			t.Error("the device never moved")
		}
		for _, d := range w.devices {
			if most := w.mostTuners[d.ID]; most > d.Tuners || d.inUse != 0 {
				t.Errorf("%s: %d of %d tuners were used at once, %d at the end", d.ID, most, d.Tuners, d.inUse)
			}
		}
		if alive < int(day.Seconds())-10 {
			t.Errorf("the watchdog was told %d times in a day", alive)
		}
		turns := 0
		for _, n := range j.turns {
			turns += n
		}
		if j.lines > turns+400 {
			t.Errorf("%d lines in the log, of which %d tell of channels\n%s", j.lines, turns, tail(j))
		}
		t.Logf("%d outages, %d starts of ec-tune, %d of ec-chop and ec-pub after %d crashes, %d changes of channels, %d log lines",
			outages, w.tunes, w.publishes, w.crashes, turns, j.lines)
		t.Log(j.text[len(j.text)-1])
	})
}

func tail(j *journal) string {
	return strings.Join(j.text[max(0, len(j.text)-30):], "\n")
}

// TestNoWholeMultiplex: a device that knows channels only one by one gets a tuner for each.
func TestNoWholeMultiplex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, relayUp: true, random: rand.New(rand.NewPCG(1, 1)), mostTuners: map[string]int{}, devices: map[string]*fakeDevice{
			"http://a": {Device: Device{Base: "http://a", ID: "A", Tuners: 3, Channels: lineup("5.1 A 533 1", "5.2 B 533 2")}, up: true, single: true},
		}}
		j := &journal{on: map[string]bool{}, turns: map[string]int{}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, Config{Channels: []string{"5.1", "5.2"}, Log: slog.New(j), survey: w.survey, whole: w.whole, run: w})
		}()
		time.Sleep(2 * time.Minute)
		j.mu.Lock()
		if !j.on["5.1"] || !j.on["5.2"] {
			t.Errorf("not on the air:\n%s", tail(j))
		}
		j.mu.Unlock()
		cancel()
		<-done
		if w.mostTuners["A"] != 2 {
			t.Errorf("%d tuners, want 2", w.mostTuners["A"])
		}
	})
}
