package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/home"
)

// check prints what would be received.
func check(c *cli.Context, conf home.Config) error {
	receivers, missing, err := home.Survey(c.Context, conf)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "CHANNEL\tNAME\tDEVICE\tTUNED AS")
	for _, r := range receivers {
		for _, ch := range r.Channels {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", ch.Number, ch.Name, r.ID, r.Address)
		}
	}
	for _, m := range missing {
		fmt.Fprintf(t, "%s\t\t\t%s\n", m.Channel, m.Why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(missing) > 0 {
		return exit.With(exit.Unreachable, fmt.Errorf("%d of the channels would not be received", len(missing)), "ec-discover --lineup lists the channels")
	}
	return nil
}
