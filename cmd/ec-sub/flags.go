package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sub"
	"every.channel/ec/lib/ticket"
)

func flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{Name: "ts", Usage: "write the transport stream instead of framed objects"},
		&cli.StringFlag{Name: "from", Usage: "begin at `PLACE` (default: the group that is being sent)"},
		&cli.StringFlag{Name: "to", Usage: "end with the group at `PLACE`; now is the newest object at the start"},
		&cli.DurationFlag{Name: "duration", Usage: "end after `TIME` of media"},
		&cli.BoolFlag{Name: "exit-at-end", Usage: "end with the track; else wait for a publisher to come back"},
		&cli.DurationFlag{Name: "idle", Usage: "end when nothing came for `TIME`"},
		&cli.BoolFlag{Name: "verify", Usage: "check each object against its hash, leave out what does not match and exit 65"},
		&cli.BoolFlag{Name: "allow-gaps", Usage: "take what there is: without it, what is missing is named and the end is exit 65"},
		&cli.BoolFlag{Name: "nearest", Usage: "take the nearest place that is there for one that is not; else exit 69, or 65 if part is there"},
		&cli.DurationFlag{Name: "reorder", Value: 2 * time.Second, Usage: "wait up to `TIME` for what is missing once something newer is here"},
		cmdutil.SizeFlag("buffer", 64<<20, "hold at most `SIZE` to bring objects into order"),
		&cli.DurationFlag{Name: "retry", Usage: "keep trying to reach relay and track for `TIME` (default: not at all at the start, 10m after a loss)"},
		&cli.BoolFlag{Name: "list", Usage: "list what the relay has, below the namespace NAME if there is one, and exit"},
		&cli.BoolFlag{Name: "follow", Usage: "with --list: list namespaces as they come and go, without end"},
		&cli.BoolFlag{Name: "json", Usage: "list as JSON Lines"},
		&cli.StringFlag{Name: "qlog-dir", Usage: "log MoQ and QUIC events of each session in folder `DIR` (qlog)"},
		&cli.BoolFlag{Name: "pace", Usage: "write the transport stream in its own time; -o may then be udp://HOST:PORT or rtp://HOST:PORT"},
		cmdutil.RateFlag("mux-rate", "with --pace: fill the multiplex with null packets to `RATE` bit/s, such as 8M, with exact PCRs"),
		&cli.BoolFlag{Name: "si", Usage: "with --pace: put the tables of the broadcast back, for a television: names, guide and time"},
		&cli.DurationFlag{Name: "pace-delay", Value: time.Second, Usage: "with --pace: hold packets for `TIME`, by which parts may come late"},
		cmdutil.OutputFlag(),
		cmdutil.DraftFlag(),
		cmdutil.RepairFlag(),
	}, append(cmdutil.TokenFlags(), cmdutil.TLSFlags()...)...)
}

// arguments tells relays from names: names hold no "://" and do not begin with @.
func arguments(args []string) (relays, names []string) {
	n := 1
	for n < len(args) && (strings.Contains(args[n], "://") || strings.HasPrefix(args[n], "@") || ticket.Is(args[n])) {
		n++
	}
	return args[:n], args[n:]
}

func listNamespaces(c *cli.Context, conf sub.Config) error {
	if len(conf.Relays) > 1 {
		return cmdutil.UsageError(errors.New("--list asks one relay"))
	}
	var prefix object.Namespace
	if len(conf.Names) > 0 {
		var err error
		if prefix, err = object.ParseNamespace(conf.Names[0]); err != nil {
			return cmdutil.UsageError(err)
		}
	}
	if c.Bool("follow") {
		return sub.Follow(c.Context, conf, prefix, c.Bool("json"), c.App.Writer)
	}
	return sub.List(c.Context, conf, prefix, c.Bool("json"), c.App.Writer)
}

// durations refuses times that are none.
func durations(c *cli.Context) error {
	if c.IsSet("duration") && c.Duration("duration") <= 0 {
		return cmdutil.UsageError(fmt.Errorf("--duration %v is no time to read for", c.Duration("duration")))
	}
	for _, name := range []string{"idle", "reorder", "retry"} {
		if c.Duration(name) < 0 {
			return cmdutil.UsageError(fmt.Errorf("--%s %v is below 0", name, c.Duration(name)))
		}
	}
	return nil
}
