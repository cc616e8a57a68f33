// Command ec-sim is a simulated antenna: an HDHomeRun device whose broadcast is a function of UTC, or that
// broadcast written as a transport stream.
package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	a := cmdutil.App("ec-sim", "a simulated antenna")
	a.UsageText = "ec-sim [flags] [serve]\nec-sim [flags] write CHANNEL\nec-sim [flags] list"
	a.Description = "serve is an HDHomeRun device, write puts the TS of a channel on stdout, list shows the channels.\n" +
		"What is broadcast is a function of UTC alone: two instances are two receivers of one antenna.\n" +
		"A CHANCE is 0.01, 1% or 1/100, for each packet; a TIME is RFC 3339, @SECONDS since 1970 or now."
	a.Flags = flags()
	var all []string
	for _, f := range a.Flags {
		all = append(all, f.Names()...)
	}
	cmdutil.Verbs(a, cmdutil.Verb{Name: "serve", Usage: "be an HDHomeRun device", Flags: all},
		cmdutil.Verb{Name: "write", Usage: "write a channel's transport stream", Flags: all}, cmdutil.Verb{Name: "list", Usage: "show the channels", Flags: all})
	a.Action = func(c *cli.Context) error {
		if slices.Contains(c.StringSlice("habit"), "help") {
			return habits(c.App.Writer)
		}
		cfg, err := configOf(c)
		if err != nil {
			return err
		}
		defer cfg.close()
		verb := "serve"
		if c.NArg() > 0 {
			verb = c.Args().First()
		}
		switch verb {
		case "serve":
			if err := cmdutil.Args(c, 0, 1); err != nil {
				return err
			}
			return serve(c.Context, cfg, cmdutil.Logger(c))
		case "list":
			if err := cmdutil.Args(c, 1, 1); err != nil {
				return err
			}
			return list(cfg, c.App.Writer)
		case "write":
			if c.NArg() < 2 {
				return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("write needs a channel"), "ec-sim list shows them"))
			}
			if err := cmdutil.Args(c, 2, 2); err != nil {
				return err
			}
			return write(c.Context, cfg, c.Args().Get(1), func() (io.WriteCloser, error) { return cmdutil.Output(c) })
		}
		return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("%q is not serve, write or list", verb),
			fmt.Sprintf("a channel's stream is written by: ec-sim write %s", verb)))
	}
	return a
}
