// Command ec-tune writes the transport stream of a tuner, a URL, a file or a multicast group to stdout.
package main

import (
	"errors"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/tune"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	a := cmdutil.App("ec-tune", "receive a transport stream")
	a.ArgsUsage = "ADDRESS"
	a.Description = "Writes the MPEG transport stream at ADDRESS to stdout, byte for byte:\n\n" + tune.AddressHelp
	a.Flags = []cli.Flag{
		cmdutil.OutputFlag(),
		&cli.StringFlag{Name: "device", Usage: "receive channels from this `DEVICE` only: id, address, host name or URL"},
		&cli.DurationFlag{Name: "duration", Usage: "stop `TIME` after the first byte"},
		&cli.StringFlag{Name: "clock", Usage: "write the broadcast's clock to `FILE`, for ec-chop --clock file:FILE"},
		&cli.StringFlag{Name: "health", Usage: "keep how the tuner receives in `FILE`, for ec-chop --tuner FILE"},
		&cli.DurationFlag{Name: "retry", Value: 30 * time.Second, Usage: "wait up to `TIME` for a free tuner or a signal"},
		&cli.BoolFlag{Name: "reconnect", Value: true, Usage: "go on when a live source fails; --reconnect=false to exit"},
		&cli.DurationFlag{Name: "stall", Value: 6 * time.Second, Usage: "give a live source up after `TIME` without data; 0s: never"},
		&cli.BoolFlag{Name: "pace", Usage: "play a file in real time, by its PCR"},
		&cli.BoolFlag{Name: "loop", Usage: "start a file again at its end"},
	}
	a.Action = action
	return a
}

func action(c *cli.Context) (err error) {
	if err := cmdutil.Args(c, 1, 1); err != nil {
		return err
	}
	cfg := tune.Config{
		Device: c.String("device"), Duration: c.Duration("duration"), Retry: c.Duration("retry"),
		Reconnect: c.Bool("reconnect"), Stall: c.Duration("stall"), Pace: c.Bool("pace"), Loop: c.Bool("loop"), Health: c.String("health"),
		Log: cmdutil.Logger(c),
	}
	if cfg.Address, err = tune.ParseAddress(c.Args().First()); err != nil {
		return err
	}
	if cfg.Address.Kind == tune.Stdin {
		if cfg.Stdin, err = cmdutil.Stdin(c, "ec-tune 5.1 receives a channel"); err != nil {
			return err
		}
	}
	if status := cmdutil.StatusLine(c); status.Visible() {
		cfg.Status = func(line string) { status.Set("%s", line) }
	}
	if name := c.String("clock"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		cfg.Clock = f
	}
	if name := c.String("output"); name != "" && name != "-" {
		out, err := tune.CreateOutput(name)
		if err != nil {
			return err
		}
		return errors.Join(tune.Run(c.Context, cfg, out), out.Close())
	}
	out, err := cmdutil.Stdout(c)
	if err != nil {
		return err
	}
	return tune.Run(c.Context, cfg, out)
}
