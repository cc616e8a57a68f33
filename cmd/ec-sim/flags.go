package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/sim"
)

func flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "listen", Value: "127.0.0.1", Usage: "serve on `ADDRESS`; any is every address, only then broadcasts are heard"},
		&cli.IntFlag{Name: "http", Value: 5080, Usage: "HTTP `PORT` of the device; 0 is any free one"},
		&cli.IntFlag{Name: "stream-port", Value: hdhr.StreamPort, Usage: "HTTP `PORT` of streams; 0 is any free one"},
		&cli.IntFlag{Name: "control-port", Value: hdhr.ControlPort, Usage: "UDP and TCP `PORT` of discovery and control"},
		&cli.StringFlag{Name: "id", Value: "10500009", Usage: "device `ID`, 8 hex digits with a checksum"},
		&cli.StringFlag{Name: "name", Value: "ec-sim", Usage: "the device's friendly `NAME`"},
		&cli.IntFlag{Name: "tuners", Value: 2, Usage: "`NUMBER` of tuners"},
		&cli.IntFlag{Name: "services", Usage: "broadcast `NUMBER` services, up to 16, in the first ATSC and the first DVB multiplex each (default: the few of the list)"},
		&cli.DurationFlag{Name: "delay", Usage: "everything is received this `TIME` late"},
		&cli.BoolFlag{Name: "full-mux", Usage: "give the whole multiplex instead of one program"},

		&cli.GenericFlag{Name: "at", Value: &moment{}, DefaultText: "now", Usage: "write what is broadcast from `TIME` on"},
		&cli.DurationFlag{Name: "duration", Usage: "write so much `TIME` of broadcast; default with --live: until stopped"},
		&cli.BoolFlag{Name: "live", Usage: "write in real time"},
		cmdutil.OutputFlag(),
		&cli.BoolFlag{Name: "json", Usage: "list as JSON Lines"},

		&cli.StringSliceFlag{Name: "file", Usage: "a transport stream as one more channel, `FILE[=NUMBER]`"},
		&cli.BoolFlag{Name: "once", Usage: "play a --file once, from its start, instead of for ever by UTC"},
		&cli.DurationFlag{Name: "offset", Usage: "set the clocks of all broadcasts this `TIME` ahead of UTC; default as the lineup has it"},
		&cli.GenericFlag{Name: "wrap-at", Value: &moment{}, Usage: "set the clock of all broadcasts so that the PCR wraps at `TIME`"},
		&cli.DurationFlag{Name: "jump-every", Usage: "the clock jumps at each UTC multiple of `TIME`"},
		&cli.DurationFlag{Name: "jump-by", Value: time.Hour, Usage: "it jumps ahead by `TIME`"},
		&cli.BoolFlag{Name: "jump-silent", Usage: "it jumps without discontinuity_indicator"},
		&cli.StringSliceFlag{Name: "habit", Usage: "broadcast with a habit, `NAME[=VALUE]`; help lists them"},
		&cli.BoolFlag{Name: "no-time", Usage: "broadcast no STT, TDT and TOT"},
		&cli.DurationFlag{Name: "tdt-every", Value: 10 * time.Second, Usage: "interval of TDT and TOT, a `TIME` up to 30s"},
		&cli.IntFlag{Name: "rate", Usage: "fill multiplexes up to `BITS` per second; default what the services need"},

		&cli.Uint64Flag{Name: "seed", Usage: "`NUMBER` that chooses which packets the flags below hit"},
		chanceFlag("loss", "`CHANCE` that a packet is lost"),
		&cli.IntFlag{Name: "burst", Value: 1, Usage: "mean `NUMBER` of packets lost together"},
		&cli.StringFlag{Name: "loss-on", Value: "all", Usage: "`CLASSES` that can be lost: video,audio,pcr,psi,si,null,unknown"},
		chanceFlag("tei", "`CHANCE` that a packet is broken and marked so"),
		chanceFlag("flip", "`CHANCE` that one bit of a packet is wrong"),
		chanceFlag("cut", "`CHANCE` that bytes of a packet are missing"),
		chanceFlag("time-loss", "`CHANCE` that a time table is lost"),
		&cli.DurationFlag{Name: "time-jitter", Usage: "time tables come late by up to this `TIME`"},
		&cli.BoolFlag{Name: "strip-null", Usage: "remove null packets"},
		&cli.BoolFlag{Name: "strip-si", Usage: "remove PSIP and SI, time tables too"},
		&cli.BoolFlag{Name: "rewrite-pat", Usage: "make the PAT anew: other version, own continuity"},
		&cli.BoolFlag{Name: "rewrite-pmt", Usage: "give the PMT another version and own continuity"},
		&cli.IntFlag{Name: "tsid", Usage: "transport stream id, a `NUMBER`, in a rewritten PAT; default as it was"},
		&cli.DurationFlag{Name: "stall-every", Usage: "reception stops each time this `TIME` has passed"},
		&cli.DurationFlag{Name: "stall-for", Value: 3 * time.Second, Usage: "and stays away for `TIME`"},
		&cli.DurationFlag{Name: "drop", Usage: "the stream ends after `TIME`"},
	}
}

// chance is a flag value between 0 and 1.
type chance float64

func chanceFlag(name, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Value: new(chance), DefaultText: "0", Usage: usage}
}

func (v *chance) String() string { return strconv.FormatFloat(float64(*v), 'g', -1, 64) }

// Set reads 0.01, 1% or 1/100.
func (v *chance) Set(s string) error {
	s, percent := strings.CutSuffix(s, "%")
	s, of, fraction := strings.Cut(s, "/")
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && fraction {
		var d float64
		d, err = strconv.ParseFloat(of, 64)
		f /= d
	}
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		return errors.New("a chance is 0 to 1, as 0.01, 1% or 1/100")
	}
	*v = chance(f)
	return nil
}

// moment is a flag value: a time, zero when not given.
type moment struct{ time.Time }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

func (m *moment) Set(s string) (err error) {
	if seconds, ok := strings.CutPrefix(s, "@"); ok {
		f, err := strconv.ParseFloat(seconds, 64)
		if err != nil || f < 0 || f > 1<<33 {
			return errors.New("a time is RFC 3339, @SECONDS since 1970 or now")
		}
		m.Time = time.UnixMilli(int64(f * 1000)).UTC()
		return nil
	}
	if s == "now" {
		m.Time = time.Now()
		return nil
	}
	if m.Time, err = time.Parse(time.RFC3339, s); err != nil || m.Unix() < 0 {
		return errors.New("a time is RFC 3339, as 2026-03-14T12:00:00Z, @SECONDS since 1970 or now")
	}
	return nil
}

// config is what the flags say.
type config struct {
	device   hdhr.Config
	backend  *sim.Backend
	at       time.Time // zero: now
	duration time.Duration
	live     bool
	json     bool
}

func (c *config) close() {
	for _, f := range c.backend.Files {
		f.Close()
	}
}

func configOf(c *cli.Context) (_ *config, err error) {
	cfg := &config{duration: c.Duration("duration"), live: c.Bool("live"), json: c.Bool("json")}
	cfg.at = c.Generic("at").(*moment).Time
	if cfg.duration < 0 {
		return nil, cmdutil.UsageError(errors.New("--duration must not be negative"))
	}
	b := &sim.Backend{Broadcast: &sim.Broadcast{}, Delay: c.Duration("delay"), FullMux: c.Bool("full-mux")}
	cfg.backend = b
	if b.Impair, err = impairOf(c); err == nil {
		err = b.Impair.Validate()
	}
	if err != nil {
		return nil, cmdutil.UsageError(err)
	}
	if n := c.Int("services"); n < 0 || n > 16 {
		return nil, cmdutil.UsageError(fmt.Errorf("--services %d: want up to 16", n))
	}
	b.Broadcast.Extend(c.Int("services"))
	for _, m := range b.Broadcast.All() {
		if c.IsSet("offset") {
			m.Offset = c.Duration("offset")
		}
		m.WrapAt = c.Generic("wrap-at").(*moment).Time
		m.Jump = sim.Jump{Every: c.Duration("jump-every"), By: c.Duration("jump-by"), Silent: c.Bool("jump-silent")}
		m.NoTime = m.NoTime || c.Bool("no-time")
		m.TDTEvery = c.Duration("tdt-every")
		m.Rate = c.Int("rate")
		for _, h := range c.StringSlice("habit") {
			if err := m.SetHabit(h); err != nil {
				return nil, cmdutil.UsageError(cmdutil.Hint(err, "ec-sim --habit help lists them"))
			}
		}
		if err := m.Validate(); err != nil {
			return nil, cmdutil.UsageError(err)
		}
	}
	if err := deviceOf(c, &cfg.device); err != nil {
		return nil, cmdutil.UsageError(err)
	}
	cfg.device.Backend = b
	for i, s := range c.StringSlice("file") {
		path, number, _ := strings.Cut(s, "=")
		if number == "" {
			number = "90." + strconv.Itoa(i+1)
		}
		f, err := sim.OpenFile(path)
		if err != nil {
			cfg.close()
			return nil, err
		}
		f.Once = c.Bool("once")
		b.Files = append(b.Files, sim.FileChannel{Number: number, File: f})
	}
	return cfg, nil
}

func impairOf(c *cli.Context) (sim.Impair, error) {
	of := func(name string) float64 { return float64(*c.Generic(name).(*chance)) }
	on, err := sim.ParseClass(c.String("loss-on"))
	return sim.Impair{
		Seed: c.Uint64("seed"), Loss: of("loss"), Burst: c.Int("burst"), LossOn: on, TEI: of("tei"), Flip: of("flip"),
		Cut: of("cut"), TimeLoss: of("time-loss"), TimeJitter: c.Duration("time-jitter"),
		StripNull: c.Bool("strip-null"), StripSI: c.Bool("strip-si"),
		RewritePAT: c.Bool("rewrite-pat") || c.IsSet("tsid"), RewritePMT: c.Bool("rewrite-pmt"), TSID: c.Int("tsid"),
		StallEvery: c.Duration("stall-every"), StallFor: c.Duration("stall-for"), Drop: c.Duration("drop"),
	}, err
}

func deviceOf(c *cli.Context, d *hdhr.Config) (err error) {
	d.Name, d.Tuners = c.String("name"), c.Int("tuners")
	if d.Tuners < 1 || d.Tuners > 16 {
		return fmt.Errorf("--tuners %d: want 1 to 16", d.Tuners)
	}
	if d.ID, err = hdhr.ParseDeviceID(c.String("id")); err != nil {
		err = fmt.Errorf("--id %w", err)
		v, notHex := strconv.ParseUint(c.String("id"), 16, 32)
		if near := hdhr.DeviceID(v).WithChecksum(); notHex == nil && len(c.String("id")) == 8 && near.Valid() {
			err = cmdutil.Hint(err, fmt.Sprintf("the last digit is a checksum: %s would do", near))
		}
		return err
	}
	if s := c.String("listen"); s != "any" {
		if d.Addr, err = netip.ParseAddr(s); err != nil {
			return fmt.Errorf("--listen %q: want an IP address or any", s)
		}
	}
	for _, p := range []struct {
		flag string
		to   *int
	}{{"http", &d.HTTPPort}, {"stream-port", &d.StreamPort}, {"control-port", &d.ControlPort}} {
		n := c.Int(p.flag)
		if n < 0 || n > 65535 {
			return fmt.Errorf("--%s %d: want 0 to 65535", p.flag, n)
		}
		if *p.to = n; n == 0 {
			*p.to = hdhr.AnyPort
		}
	}
	d.DiscoverPort = d.ControlPort
	return nil
}
