// Command ec-chop reads MPEG-TS on stdin and writes the named objects of docs/format/chunk.md on stdout.
package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/probe"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	a := cmdutil.App("ec-chop", "cut a transport stream into named, verifiable objects")
	a.ArgsUsage = "[FILE ...]"
	a.Description = "Reads MPEG-TS from the FILEs, one after the other, or from stdin, and writes one program of it in chunks of\n" +
		"about --duration, with catalog, manifest, timeline and tables. What every receiver of the broadcast has alike\n" +
		"goes out under the broadcast's name, ec-atsc-TSID-PROGRAM or ec-dvb-ONID-TSID-SID, all else under the source's."
	a.Flags = []cli.Flag{
		cmdutil.OutputFlag(),
		&cli.UintFlag{Name: "program", Usage: "`NUMBER` of the program, needed when the stream has several"},
		&cli.DurationFlag{Name: "duration", Value: chop.DefaultDuration, Usage: "length of a chunk, 200ms to 1m"},
		&cli.DurationFlag{Name: "part", Value: chop.DefaultPart, Usage: "length of a part, 20ms to the chunk's"},
		&cli.StringFlag{Name: "promote", Value: "chunk", Usage: "what must be clean to go out under the broadcast's name: chunk, or part for less latency"},
		&cli.StringFlag{Name: "clock", Value: "broadcast", Usage: "where UTC comes from: broadcast, host for a stream without time tables, or file:`FILE` recorded by ec-tune --clock"},
		&cli.StringFlag{Name: "tuner", Usage: "`FILE` in which ec-tune --health keeps how the tuner receives, for the health track"},
		&cli.StringFlag{Name: "source", Usage: "`ID` of this receiver (default: the host's name and 8 digits that are others at each start)"},
		&cli.StringFlag{Name: "broadcast", Usage: "`NAME` of the broadcast, such as ec-atsc-2065-3, whatever the stream says"},
		&cli.StringFlag{Name: "rendition", Usage: "`NAME` of this version of the broadcast, if it is not the broadcast's own bytes"},
		&cli.BoolFlag{Name: "verbatim", Usage: "with --clock file: the stream is the broadcast's own bytes, not a rendition"},
		&cli.BoolFlag{Name: "ts", Usage: "write the canonical transport stream instead of objects"},
		&cli.StringFlag{Name: "scope", Value: "all", Usage: "with --ts: chunks of which scope: broadcast, source or all"},
	}
	a.Action = run
	return a
}

func run(c *cli.Context) error {
	cfg := chop.Config{Program: c.Uint("program"), Duration: c.Duration("duration"), Part: c.Duration("part"), Source: c.String("source"),
		Rendition: c.String("rendition"), Verbatim: c.Bool("verbatim"), Log: cmdutil.Logger(c), Meter: probe.NewMeter()}
	cfg.Host, _ = os.Hostname()
	if name := c.String("tuner"); name != "" {
		cfg.Tuner = chop.TunerFile(name, cfg.Log)
	}
	if err := cfg.Settings(c.String("promote"), c.String("clock"), c.String("broadcast")); err != nil {
		return cmdutil.UsageError(err)
	}
	in, err := cmdutil.Input(c, c.Args().Slice(), "pipe a transport stream in, for example: ec-tune 5.1 | ec-chop | ec-pub moqt://relay:4443")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := cmdutil.Output(c)
	if err != nil {
		return err
	}
	var sink chop.Sink = object.NewWriter(out)
	if c.Bool("ts") {
		w, err := chop.NewTSWriter(out, c.String("scope"))
		if err != nil {
			return cmdutil.UsageError(err)
		}
		w.Log, sink = cfg.Log, w
	}
	stats, err := chop.Run(c.Context, cfg, in, sink)
	stats.Report(cfg)
	return errors.Join(err, out.Close())
}
