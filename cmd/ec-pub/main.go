// ec-pub publishes framed objects from stdin to relays.
package main

import (
	"context"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/pub"
	"every.channel/ec/lib/settings"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	app := cmdutil.App("ec-pub", "publish framed objects to relays")
	app.ArgsUsage = "moqt://RELAY:PORT ... < OBJECTS"
	app.Description = "Reads a framed object stream, as ec-chop writes it, and publishes it to each relay as it comes.\n" +
		"In place of an address a ticket will do, or @FILE, whose first line is either."
	app.Flags = append([]cli.Flag{
		&cli.DurationFlag{Name: "resend", Value: 30 * time.Second, Usage: "keep groups that were sent for `TIME`, to send them again when a relay was lost"},
		cmdutil.SizeFlag("memory", 256<<20, "keep at most `SIZE` of groups in memory while a relay is away: 256M are 110 s of 19 Mbit/s"),
		&cli.StringFlag{Name: "spool", Usage: "also keep groups on disk in folder `DIR`, which relays are given when they miss some"},
		cmdutil.RetainFlag("spool-retain", cmdutil.Retain{Age: 24 * time.Hour}, "remove the oldest there beyond `AGE|SIZE`, or beyond either of both: 12h, 2d, 50G or 2d,50G"),
		&cli.BoolFlag{Name: "block", Usage: "let the input wait when the memory is full; else only input faster than its own clock waits, and of live input the oldest group is dropped"},
		&cli.DurationFlag{Name: "drain", Value: 30 * time.Second, Usage: "at the end of input wait up to `TIME` for delivery"},
		&cli.DurationFlag{Name: "retry", Usage: "keep trying to reach a relay for `TIME` (default: not at all at the start, 10m after a loss)"},
		&cli.BoolFlag{Name: "tee", Usage: "copy the input to stdout"},
		&cli.StringFlag{Name: "qlog-dir", Usage: "log MoQ and QUIC events of each session in folder `DIR` (qlog)"},
		cmdutil.DraftFlag(),
		cmdutil.RepairFlag(),
	}, cmdutil.TLSFlags()...)
	app.Action = run
	return app
}

func run(c *cli.Context) error {
	if err := cmdutil.Args(c, 1, -1); err != nil {
		return err
	}
	relays, err := client.FromFiles(c.Args().Slice(), cmdutil.Logger(c))
	if err != nil {
		return err
	}
	tls, err := cmdutil.TLSConfig(c)
	if err != nil {
		return err
	}
	in, err := cmdutil.Stdin(c, "ec-tune 5.1 | ec-chop | ec-pub "+c.Args().First())
	if err != nil {
		return err
	}
	if c.Bool("tee") {
		out, err := cmdutil.Stdout(c)
		if err != nil {
			return err
		}
		in = io.TeeReader(in, out)
	}
	status, keep := cmdutil.StatusLine(c), cmdutil.RetainOf(c, "spool-retain")
	conf := pub.Config{
		Relays: relays, TLS: tls, Log: cmdutil.Logger(c),
		Resend: settings.Of(c.Duration("resend")), Memory: settings.Of(cmdutil.SizeOf(c, "memory")),
		Spool: c.String("spool"), SpoolAge: keep.Age, SpoolBytes: keep.Bytes,
		Block: c.Bool("block"), Drain: settings.Of(c.Duration("drain")), QLogDir: c.String("qlog-dir"),
		Progress: func(s pub.Stats) {
			status.Set("%d groups, %d objects, %.1f MB, %d dropped%s", s.Groups, s.Objects, float64(s.Bytes)/1e6, s.Dropped, s.Repair)
		},
	}
	if conf.Versions, err = client.Versions(c.String("draft")); err != nil {
		return err
	}
	if conf.NoRepair, err = cmdutil.NoRepair(c); err != nil {
		return err
	}
	dial, stop := client.Iroh(conf.Relays, conf.Log)
	defer stop()
	conf.Iroh = dial
	if c.IsSet("retry") {
		conf.RetryStart, conf.RetryLost = c.Duration("retry"), settings.Of(c.Duration("retry"))
	}
	return publish(c.Context, conf, in, c)
}

func publish(ctx context.Context, conf pub.Config, in io.Reader, c *cli.Context) error {
	s, err := pub.Run(ctx, conf, in)
	cmdutil.Logger(c).Info("published", "groups", s.Groups, "objects", s.Objects, "bytes", s.Bytes,
		"dropped", s.Dropped, "undelivered", s.Undelivered, "duplicates", s.Duplicates, "late", s.Late, "unfinished", s.Unfinished, "refused", s.Refused, "demoted", s.Demoted)
	return err
}
