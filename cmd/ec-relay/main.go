// Command ec-relay stores what publishers send and serves it, live and from disk.
package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/relay"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	a := cmdutil.App("ec-relay", "store what publishers send and serve it, live and from disk")
	a.UsageText = "ec-relay [flags]\nec-relay [--store DIR] [--json] status|ticket\nec-relay [--store DIR] [--json] pardon [HOME]\nec-relay [--store DIR] [--json] token [list|make|show|revoke] [TOKEN|ID]\nec-relay [--store DIR] [--json] store [list|check|repair|delete] [NAME]\nec-relay [--store DIR] [--json] takedown [list|add|lift] [NAME|ID …]\nec-relay [--store DIR] [--json] reload"
	a.Description = "Listens for MoQ sessions, over QUIC (moqt://), WebTransport (https://), and QMux (unix://, tcp://,\n" +
		"ws://, wss://). Objects are stored before they are served; tracks of several publishers are merged.\n" +
		"Clients trust the relay by the fingerprint of its key, which is made at the first start and stays; the\n" +
		"fingerprint is logged at the start and written to DIR/fingerprint.\n" +
		"status and store ask the relay that runs with its store in DIR what it does and has. ticket asks that\n" +
		"relay for a ticket, with which others reach and join it; with --list for those there are, with --revoke\n" +
		"to take one back. token make asks for a token, with which others may publish or read what it names; show says what\n" +
		"a token is good for, and revoke takes one back. store also goes without a relay, on the folder: list names what is missing, check reads\n" +
		"all groups and compares them with their hashes, repair keeps what is whole of those that are damaged, so\n" +
		"that the rest can come again, and delete removes the groups of the track or namespace NAME. takedown add\n" +
		"stops at once that NAME is taken or served, for a time range or by a hash if these are named, until lift; also on\n" +
		"the folder where no relay runs. reload, and SIGHUP, has the relay read its flags, --config and the files that these name again.\n" +
		"pardon ends quarantines, all or that of HOME, as status names it."
	a.Flags = flags()
	cmdutil.Verbs(a, verbs()...)
	a.Action = run
	return a
}

func run(c *cli.Context) error {
	if c.NArg() > 0 {
		return ask(c)
	}
	if err := onlyOf(c, nil); err != nil {
		return err
	}
	conf, err := configure(c)
	if err != nil {
		return err
	}
	if c.Bool("check") {
		return relay.Check(conf)
	}
	if c.Bool("print-fingerprint") {
		fp, err := relay.Fingerprint(conf)
		if err == nil {
			_, err = fmt.Fprintln(c.App.Writer, fp)
		}
		return err
	}
	return serve(c, conf)
}
