package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/sim"
)

// serve runs the device until ctx ends.
func serve(ctx context.Context, cfg *config, log *slog.Logger) error {
	cfg.device.Log = log
	d, err := hdhr.NewDevice(cfg.device)
	if err != nil {
		return cmdutil.UsageError(err)
	}
	err = d.Listen(ctx)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return cmdutil.Exit(exit.Busy, cmdutil.Hint(err, "another device runs there; choose --listen 127.0.0.2 or other ports"))
	case errors.Is(err, syscall.EACCES):
		return cmdutil.Exit(exit.NotAllowed, cmdutil.Hint(err, "ports below 1024 are for root; choose others"))
	case err != nil:
		return err
	}
	addr := cfg.device.Addr
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = netip.MustParseAddr("127.0.0.1")
	}
	log.Info("ready", "id", d.ID().String(), "url", d.BaseURL(addr), "lineup", d.BaseURL(addr)+"/lineup.json",
		"stream", d.StreamURL(addr, "/auto/v5.1"), "discover", d.DiscoverAddr(addr).String())
	if err := cmdutil.Notify("READY=1"); err != nil {
		log.Warn("service manager", "err", err)
	}
	return d.Run(ctx)
}

// write copies the stream of a channel to the writer that open returns. open is called only when nothing else can go wrong.
func write(ctx context.Context, cfg *config, channel string, open func() (io.WriteCloser, error)) (err error) {
	if !cfg.live && cfg.duration == 0 {
		return cmdutil.UsageError(cmdutil.Hint(errors.New("writing as fast as possible needs an end"), "add --duration 60s or --live"))
	}
	start := time.Now()
	from := cfg.at
	if from.IsZero() {
		from = start
	}
	from = from.Add(-cfg.backend.Delay)
	to := time.Time{}
	if cfg.duration > 0 {
		to = from.Add(cfg.duration)
	}
	r, err := reader(cfg, channel, from, to)
	if err != nil {
		return err
	}
	w, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if cfg.live {
		l := sim.Live(ctx, r, func() time.Time { return from.Add(time.Since(start)) })
		defer l.Close()
		return copyTo(ctx, w, cfg.backend.Impair.Reader(l))
	}
	return copyTo(ctx, w, cfg.backend.Impair.Reader(r))
}

// feed is a stream that can be read as fast as possible, or paced.
type feed interface {
	io.Reader
	sim.Feed
}

func reader(cfg *config, channel string, from, to time.Time) (feed, error) {
	for _, f := range cfg.backend.Files {
		if f.Number == channel {
			return f.Reader(from, to), nil
		}
	}
	m, s, err := cfg.backend.Broadcast.Channel(channel)
	if err != nil {
		return nil, err
	}
	if cfg.backend.FullMux {
		return m.Reader(from, to, 0), nil
	}
	return m.Reader(from, to, s.Program), nil
}

// copyTo is io.Copy that ends with ctx.
func copyTo(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, 188<<10)
	for ctx.Err() == nil {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// entry is a line of --json list.
type entry struct {
	Version   int    `json:"version"` // of this form
	Number    string `json:"number"`
	Name      string `json:"name"`
	Program   int    `json:"program,omitempty"`
	TSID      *int   `json:"tsid,omitempty"`
	ONID      *int   `json:"onid,omitempty"`
	Frequency int64  `json:"frequency"`
	Video     string `json:"video,omitempty"`
	Audio     string `json:"audio,omitempty"`
	Note      string `json:"note,omitempty"`
}

// list prints the lineup.
func list(cfg *config, w io.Writer) error {
	notes := map[string]string{}
	for _, m := range cfg.backend.Broadcast.All() {
		for _, s := range m.Services {
			switch {
			case s.DRM:
				notes[s.Number] = "protected: refused with 811"
			case s.Dead:
				notes[s.Number] = "sends nothing: refused with 807"
			case s.Scrambled:
				notes[s.Number] = "scrambled"
			case m.NoTime:
				notes[s.Number] = "no time tables"
			case s.Video == "":
				notes[s.Number] = "audio only"
			}
		}
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	j := json.NewEncoder(w)
	if !cfg.json {
		fmt.Fprintln(t, "CHANNEL\tNAME\tNETWORK\tTS\tPROGRAM\tMHZ\tVIDEO\tAUDIO\tNOTE")
	}
	number := func(n int) (*int, string) {
		if n < 0 {
			return nil, "-"
		}
		return &n, strconv.Itoa(n)
	}
	for _, c := range cfg.backend.Lineup() {
		tsid, ts := number(c.TSID)
		onid, on := number(c.ONID)
		if cfg.json {
			if err := j.Encode(entry{1, c.Number, c.Name, c.Program, tsid, onid, c.Frequency, c.VideoCodec, c.AudioCodec, notes[c.Number]}); err != nil {
				return err
			}
			continue
		}
		program := "-"
		if c.Program > 0 {
			program = strconv.Itoa(c.Program)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
			c.Number, c.Name, on, ts, program, c.Frequency/1e6, c.VideoCodec, c.AudioCodec, notes[c.Number])
	}
	return t.Flush()
}

// habits lists what --habit takes.
func habits(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, h := range sim.HabitFlags() {
		name := h.Name
		if h.Value != "" {
			name += "=" + h.Value
		}
		fmt.Fprintf(t, "%s\t%s\n", name, h.Usage)
	}
	return t.Flush()
}
