// ec-sub reads tracks from a relay to stdout.
package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/settings"
	"every.channel/ec/lib/sub"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	app := cmdutil.App("ec-sub", "read tracks from a relay, past and live")
	app.ArgsUsage = "moqt://RELAY:PORT ... NAME ..."
	app.Description = "In place of an address a ticket will do, or @FILE, whose first line is either.\n" +
		"NAME is a namespace, for the current ts track of its catalog, or a track: ec-atsc-2065-3--catalog;\n" +
		"or a channel as receivers call it: 5.1, or its callsign.\n" +
		"A place is first, now, a group number, 2026-07-04T20:15:00Z, 20:15 (local), or -5m."
	app.Flags = flags()
	app.Action = run
	return app
}

func run(c *cli.Context) (err error) {
	list := c.Bool("list")
	if c.Bool("follow") && !list {
		return cmdutil.UsageError(errors.New("--follow goes with --list"))
	}
	if err := cmdutil.Args(c, map[bool]int{true: 1, false: 2}[list], map[bool]int{true: 2, false: -1}[list]); err != nil {
		return err
	}
	relays, names := arguments(c.Args().Slice())
	if relays, err = client.FromFiles(relays, cmdutil.Logger(c)); err != nil {
		return err
	}
	for _, relay := range relays {
		if err := client.CheckURL(relay); err != nil {
			return err
		}
	}
	conf := sub.Config{
		Relays: relays, Names: names, Log: cmdutil.Logger(c), TS: c.Bool("ts"), Verify: c.Bool("verify"),
		AllowGaps: c.Bool("allow-gaps"), Nearest: c.Bool("nearest"), Duration: c.Duration("duration"), ExitAtEnd: c.Bool("exit-at-end"), Idle: c.Duration("idle"),
		Reorder: c.Duration("reorder"), Buffer: cmdutil.SizeOf(c, "buffer"), QLogDir: c.String("qlog-dir"),
	}
	if err := durations(c); err != nil {
		return err
	}
	if conf.TLS, err = cmdutil.TLSConfig(c); err != nil {
		return err
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
	if c.IsSet("retry") {
		conf.RetryStart, conf.RetryLost = c.Duration("retry"), settings.Of(c.Duration("retry"))
	}
	if list {
		return listNamespaces(c, conf)
	}
	if conf.From, conf.To, err = sub.ParseSpan(c.String("from"), c.String("to"), time.Now()); err != nil {
		return cmdutil.UsageError(err)
	}
	status := cmdutil.StatusLine(c)
	conf.Progress = func(s sub.Stats) {
		status.Set("group %d, %d objects, %.1f MB, %d groups and %d objects missing%s", s.Group, s.Objects, float64(s.Bytes)/1e6, s.MissingGroups, s.MissingObjects, s.Repair)
	}
	out, err := output(c, &conf)
	if err != nil {
		return err
	}
	s, err := sub.Run(c.Context, conf, out)
	conf.Log.Info("read", "groups", s.Groups, "objects", s.Objects, "bytes", s.Bytes, "missing_groups", s.MissingGroups,
		"missing_objects", s.MissingObjects, "healed", s.Healed, "mismatches", s.Mismatches, "no_hash", s.NoHash, "unpublished", s.Unpublished)
	return errors.Join(err, out.Close())
}
