// Command ec-discover lists the HDHomeRun tuners on the network and their channels.
package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/hdhr"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	a := cmdutil.App("ec-discover", "list tuners and their channels")
	a.ArgsUsage = "[LINEUP...]"
	a.Description = "Asks on every network interface, over IPv4 and IPv6, which HDHomeRun devices are there, and\n" +
		"prints them. With --lineup it prints their channels, or those of each LINEUP: the URL or file of a\n" +
		"lineup.json, or the URL of a device."
	a.Flags = []cli.Flag{
		&cli.StringSliceFlag{Name: "ip", Usage: "ask this `ADDRESS` instead of the whole network"},
		&cli.StringFlag{Name: "id", Usage: "look for the device with this `ID`, 8 hex digits"},
		&cli.BoolFlag{Name: "ipv4", Aliases: []string{"4"}, Usage: "ask over IPv4 only"},
		&cli.BoolFlag{Name: "ipv6", Aliases: []string{"6"}, Usage: "ask over IPv6 only"},
		&cli.DurationFlag{Name: "timeout", Value: 400 * time.Millisecond, Usage: "ask twice and listen for `TIME` in all"},
		&cli.BoolFlag{Name: "lineup", Usage: "list channels instead of devices"},
		&cli.BoolFlag{Name: "relays", Usage: "list the relays that the relay on this machine knows, and by which path"},
		&cli.StringFlag{Name: "store", Value: "ec-store", Usage: "with --relays: ask the relay with its store in folder `DIR`"},
		&cli.BoolFlag{Name: "json", Usage: "print JSON Lines"},
	}
	a.Action = func(c *cli.Context) error {
		if c.Bool("relays") {
			return relays(c)
		}
		cfg := config{json: c.Bool("json"), lineup: c.Bool("lineup"), sources: c.Args().Slice(), log: cmdutil.Logger(c)}
		if c.NArg() > 0 && !cfg.lineup {
			return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("unexpected argument %q", c.Args().First()),
				"a device is looked for with --ip or --id; a lineup is read with --lineup"))
		}
		if c.Bool("ipv4") && c.Bool("ipv6") {
			return cmdutil.UsageError(errors.New("--ipv4 and --ipv6 exclude each other"))
		}
		if c.Duration("timeout") <= 0 {
			return cmdutil.UsageError(errors.New("--timeout must be positive"))
		}
		cfg.find = hdhr.DiscoverConfig{No4: c.Bool("ipv6"), No6: c.Bool("ipv4"), Tries: 2, Wait: c.Duration("timeout") / 2}
		if s := c.String("id"); s != "" {
			id, err := hdhr.ParseDeviceID(s)
			if err != nil {
				return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("--id %w", err), "the id is printed on the device's label"))
			}
			cfg.find.ID = id
		}
		for _, s := range c.StringSlice("ip") {
			target, err := hdhr.ResolveTarget(c.Context, s, !c.Bool("ipv6"), !c.Bool("ipv4"))
			if _, dns := errors.AsType[*net.DNSError](err); dns {
				return err
			}
			if err != nil {
				return cmdutil.UsageError(fmt.Errorf("--ip %w", err))
			}
			cfg.find.Targets = append(cfg.find.Targets, target)
		}
		return run(c.Context, cfg, c.App.Writer)
	}
	return a
}
