package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/cmdutil"
)

// followEvery is how often a record is asked for and shown.
const followEvery = time.Second

// follow shows a record again and again until the command is ended: on a terminal in place, else one after the other, with --json a line each.
func follow(c *cli.Context, name string, args any) (err error) {
	screen := cmdutil.ScreenOf(c)
	if c.Bool("json") {
		screen = nil
	}
	if screen != nil {
		defer func() { err = errors.Join(err, screen.Close()) }()
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		record, err := admin.Call(c.Context, c.String("store"), name, args)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if c.Bool("json") {
			fmt.Fprintf(&text, "%s\n", bytes.TrimSpace(record))
		} else if err := printers[name](&text, record); err != nil {
			return err
		}
		if screen != nil {
			err = screen.Draw(text.String())
		} else {
			if !c.Bool("json") {
				text.WriteByte('\n')
			}
			_, err = c.App.Writer.Write(text.Bytes())
		}
		if err != nil {
			return err
		}
		select {
		case <-c.Context.Done():
			return c.Context.Err()
		case <-tick.C:
		}
	}
}
