package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
)

func flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "channel", Usage: "publish `CHANNEL`, the number or name in a lineup; those first that must have a tuner; * is every one that is not protected"},
		&cli.StringSliceFlag{Name: "device", Usage: "receive from `DEVICE`: id, address, host name or URL (default: all that answer)"},
		&cli.StringSliceFlag{Name: "relay", Usage: "publish to the relay at `ADDRESS`, or @FILE, whose first line is an address or a ticket"},
		&cli.IntFlag{Name: "max-tuners", Usage: "use at most `N` tuners, so that others are left; 0: as many as there are"},
		&cli.StringFlag{Name: "source", Usage: "call the sources `NAME` and the channel's number (default: the host's name)"},
		&cli.StringFlag{Name: "promote", Value: "chunk", Usage: "what must be clean to go out under the broadcast's name: chunk, or part for less latency"},
		&cli.BoolFlag{Name: "standby", Usage: "keep the media back until a relay asks for them, because another home sends the same broadcasts"},
		cmdutil.SizeFlag("memory", 64<<20, "keep at most `SIZE` of each channel in memory while a relay is away"),
		&cli.StringFlag{Name: "spool", Usage: "also keep each channel on disk, in a folder below `DIR`, for relays that miss something"},
		cmdutil.RetainFlag("spool-retain", cmdutil.Retain{Age: 24 * time.Hour}, "remove the oldest of a channel there beyond `AGE|SIZE`, or beyond either of both: 12h, 2d, 50G or 2d,50G"),
		cmdutil.DraftFlag(),
		cmdutil.RepairFlag(),
		&cli.StringFlag{Name: "config", Usage: "read flags from `FILE`, lines of name = value"},
		&cli.BoolFlag{Name: "check", Usage: "check the configuration, say which tuner would receive what, and exit"},
	}, append(cmdutil.TokenFlags(), cmdutil.TLSFlags()...)...)
}
