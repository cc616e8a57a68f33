// Command ec-dump shows what a transport stream or an object stream holds and what is wrong with it.
package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/probe"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	a := cmdutil.App("ec-dump", "show what a stream holds and what is wrong with it")
	a.ArgsUsage = "[FILE...]"
	a.Description = "Reads a transport stream or an object stream, which it tells apart by itself, from the FILEs one\n" +
		"after the other or from stdin, and prints programs, PIDs, tables, clocks and errors, or tracks, chunks\n" +
		"and hashes. With --ts it writes a track of an object stream as transport stream instead."
	a.Flags = []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print JSON Lines"},
		&cli.BoolFlag{Name: "sections", Usage: "print tables as they change, decoded"},
		&cli.DurationFlag{Name: "interval", Usage: "print a report every `TIME` too, not only at the end"},
		&cli.BoolFlag{Name: "top", Usage: "show rates, errors, chunks and health as they are now, every second; not on a terminal a line each"},
		&cli.BoolFlag{Name: "verify", Usage: "recompute every hash; exit 65 if one is wrong or the stream is damaged"},
		&cli.BoolFlag{Name: "ts", Usage: "write the transport stream in an object stream to stdout"},
		&cli.StringFlag{Name: "track", Usage: "with --ts: this track only, a written `NAME` such as ec-atsc-2065-3--ts_t13"},
		cmdutil.OutputFlag(),
	}
	a.Action = run
	return a
}

func run(c *cli.Context) (err error) {
	cfg := probe.Config{JSON: c.Bool("json"), Sections: c.Bool("sections"), Verify: c.Bool("verify"),
		Interval: c.Duration("interval"), Log: cmdutil.Logger(c)}
	switch {
	case cfg.Interval < 0:
		return cmdutil.UsageError(errors.New("--interval must be positive"))
	case c.Bool("top") && (cfg.JSON || cfg.Sections || cfg.Interval > 0 || c.Bool("ts") || c.String("output") != ""):
		return cmdutil.UsageError(cmdutil.Hint(errors.New("--top is a view for people, and the only one"), "for programs there is --json --interval 1s"))
	case c.String("track") != "" && !c.Bool("ts"):
		return cmdutil.UsageError(errors.New("--track needs --ts"))
	case c.Bool("ts") && (cfg.JSON || cfg.Sections || cfg.Interval > 0):
		return cmdutil.UsageError(errors.New("--ts writes a transport stream; --json, --sections and --interval report on one"))
	}
	if t := c.String("track"); t != "" {
		if _, err := object.ParseTrackName(t); err != nil {
			return cmdutil.UsageError(err)
		}
	}
	in, err := cmdutil.Input(c, c.Args().Slice(), "pipe a stream in, or name a file")
	if err != nil {
		return err
	}
	defer in.Close()
	if c.Bool("top") {
		screen := cmdutil.ScreenOf(c)
		if screen == nil {
			cfg.Interval = time.Second
		} else {
			cfg.Top = screen.Draw
			defer func() { err = errors.Join(err, screen.Close()) }()
		}
	}
	if !c.Bool("ts") && c.String("output") == "" {
		return probe.Run(c.Context, cfg, in, c.App.Writer)
	}
	out, err := cmdutil.Output(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if c.Bool("ts") {
		return probe.Extract(c.Context, cfg, c.String("track"), in, out)
	}
	return probe.Run(c.Context, cfg, in, out)
}
