// ec-pub publishes framed objects from stdin to relays.
package main

import (
	"context"
	"io"

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
	app.Flags = flags()
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
		Standby: c.Bool("standby"), Block: c.Bool("block"), Drain: settings.Of(c.Duration("drain")), QLogDir: c.String("qlog-dir"),
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
	if conf.Token, err = client.NewToken(c.String("token"), c.String("token-type"), conf.Log); err != nil {
		return err
	}
	dial, stop := client.Iroh(conf.Relays, conf.Log)
	defer stop()
	conf.Iroh = dial
	switch {
	case c.IsSet("retry"):
		conf.RetryStart, conf.RetryLost = c.Duration("retry"), settings.Of(c.Duration("retry"))
	case conf.Spool != "": // what is read is kept meanwhile
		conf.RetryStart, conf.RetryLost = client.ForEver, client.ForEver
	}
	return publish(c.Context, conf, in, c)
}

func publish(ctx context.Context, conf pub.Config, in io.Reader, c *cli.Context) error {
	s, err := pub.Run(ctx, conf, in)
	cmdutil.Logger(c).Info("published", "groups", s.Groups, "objects", s.Objects, "bytes", s.Bytes,
		"dropped", s.Dropped, "undelivered", s.Undelivered, "duplicates", s.Duplicates, "late", s.Late, "unfinished", s.Unfinished, "refused", s.Refused, "demoted", s.Demoted)
	return err
}
