package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/mesh"
)

// relays asks the relay on this machine which others are there.
func relays(c *cli.Context) error {
	if err := cmdutil.Args(c, 0, 0); err != nil {
		return err
	}
	record, err := admin.Call(c.Context, c.String("store"), "relays", nil)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		_, err := fmt.Fprintf(c.App.Writer, "%s\n", strings.TrimSpace(string(record)))
		return err
	}
	var r mesh.Relays
	if err := json.Unmarshal(record, &r); err != nil {
		return fmt.Errorf("the relay's record: %w", err)
	}
	return r.Print(c.App.Writer)
}
