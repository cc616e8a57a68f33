package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
)

func flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.DurationFlag{Name: "resend", Value: 30 * time.Second, Usage: "keep groups that were sent for `TIME`, to send them again when a relay was lost"},
		cmdutil.SizeFlag("memory", 256<<20, "keep at most `SIZE` of groups in memory while a relay is away: 256M are 110 s of 19 Mbit/s"),
		&cli.StringFlag{Name: "spool", Usage: "also keep groups on disk in folder `DIR`, which relays are given when they miss some"},
		cmdutil.RetainFlag("spool-retain", cmdutil.Retain{Age: 24 * time.Hour}, "remove the oldest there beyond `AGE|SIZE`, or beyond either of both: 12h, 2d, 50G or 2d,50G"),
		&cli.BoolFlag{Name: "standby", Usage: "keep the media back until a relay asks for them, because another home sends the same broadcast"},
		&cli.BoolFlag{Name: "block", Usage: "let the input wait when the memory is full; else only input faster than its own clock waits, and of live input the oldest group is dropped"},
		&cli.DurationFlag{Name: "drain", Value: 30 * time.Second, Usage: "at the end of input wait up to `TIME` for delivery"},
		&cli.DurationFlag{Name: "retry", Usage: "keep trying to reach a relay for `TIME` (default: not at all at the start, 10m after a loss; with --spool for ever)"},
		&cli.BoolFlag{Name: "tee", Usage: "copy the input to stdout"},
		&cli.StringFlag{Name: "qlog-dir", Usage: "log MoQ and QUIC events of each session in folder `DIR` (qlog)"},
		cmdutil.DraftFlag(),
		cmdutil.RepairFlag(),
	}, append(cmdutil.TokenFlags(), cmdutil.TLSFlags()...)...)
}
