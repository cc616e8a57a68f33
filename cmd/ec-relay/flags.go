package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
)

func flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "listen", Value: cli.NewStringSlice(":4443"), Usage: "listen on `ADDR`: HOST:PORT of UDP, unix:///PATH, tcp://HOST:PORT, ws:// or wss://"},
		&cli.StringFlag{Name: "store", Value: "ec-store", Usage: "keep objects in folder `DIR`"},
		&cli.StringFlag{Name: "cert", Usage: "show the certificate in `FILE` (PEM)"},
		&cli.StringFlag{Name: "key", Usage: "the key of --cert is in `FILE` (PEM)"},
		&cli.StringSliceFlag{Name: "allow-origin", Usage: "let browser pages of `ORIGIN` connect, and go by its host's name; * is any"},
		&cli.StringSliceFlag{Name: "http", Usage: "serve the page, and what goes with it, at `ADDR`: HOST:PORT, http://HOST:PORT or https://HOST:PORT"},
		&cli.StringFlag{Name: "name", Usage: "call the relay `NAME` on its page"},
		&cli.BoolFlag{Name: "exit-with-stdin", Usage: "run for another program: print one line of JSON when ready, end in order when stdin ends"},
		&cli.BoolFlag{Name: "open", Usage: "let everybody publish who reaches the relay"},
		&cli.BoolFlag{Name: "private", Usage: "let only those read who show a ticket or a token, and this user's own tools"},
		&cli.StringSliceFlag{Name: "token-key", Usage: "take tokens that are signed by the public key in `FILE` (PEM or JWK), besides those of the relay's own key"},
		&cli.StringSliceFlag{Name: "token-audience", Usage: "take tokens whose audience is `NAME`, besides those for the fingerprint and for none"},
		&cli.StringSliceFlag{Name: "token-type", Usage: "take tokens that come with the type `N`, too: some peers send Common Access Tokens as 16"},
		&cli.BoolFlag{Name: "lenient", Usage: "serve peers that break rules without harm to others, such as MediaMTX and mlmsub"},
		cmdutil.AgeFlag("retain", 24*time.Hour, "keep groups for `TIME`, such as 12h or 2d; 0: for ever"),
		cmdutil.SizeFlag("max-bytes", 50<<30, "keep at most `SIZE` of groups; 0: no bound"),
		&cli.StringSliceFlag{Name: "keep", Usage: "keep groups of namespaces that begin with a prefix for another time or size: `PREFIX=TIME[/SIZE]`"},
		cmdutil.AgeFlag("compress-after", 0, "compress whole groups with zstd after `TIME`; 0: never"),
		&cli.StringFlag{Name: "tier", Usage: "move old groups to the S3 bucket at `URL`, https://HOST/BUCKET/PREFIX, with ?region=NAME if need be"},
		cmdutil.AgeFlag("tier-after", 6*time.Hour, "with --tier: move whole groups that were last written `TIME` ago"),
		cmdutil.AgeFlag("tier-retain", 0, "with --tier: keep whole groups for `TIME`; 0: for ever (default: as --retain)"),
		cmdutil.SizeFlag("tier-rate", 8<<20, "with --tier: send at most `SIZE` a second; 0: no bound"),
		&cli.StringFlag{Name: "tier-credentials", Usage: "with --tier: the bucket's keys are in `FILE` (default: in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"},
		&cli.StringFlag{Name: "scrub", Value: "4M", Usage: "compare stored groups with their hashes, at most `RATE` bytes a second, or off"},
		cmdutil.SizeFlag("cache", 256<<20, "keep up to `SIZE` of live groups in memory"),
		&cli.DurationFlag{Name: "stall", Value: 2 * time.Second, Usage: "reset a group that nobody continues for `TIME` while a newer one exists"},
		&cli.DurationFlag{Name: "max-ahead", Value: 90 * time.Minute, Usage: "hold groups apart whose time is more than `TIME` ahead of this machine's clock; 0: none"},
		&cli.IntFlag{Name: "max-lag", Value: 30, Usage: "skip a group for a subscriber that is `N` groups further behind than at its closest"},
		&cli.IntFlag{Name: "max-sessions", Value: 1000, Usage: "serve at most `N` sessions"},
		&cli.DurationFlag{Name: "drain", Value: 2 * time.Second, Usage: "at the end give sessions `TIME` to leave"},
		&cli.StringSliceFlag{Name: "upstream", Usage: "get what is not here from the relay at `ADDRESS`, or @FILE"},
		&cli.StringSliceFlag{Name: "peer", Usage: "join the relay at `PEER`, an address, a ticket or @FILE with either, both ways; or let the one with this id join"},
		&cli.StringSliceFlag{Name: "mirror", Usage: "keep a whole copy of what upstreams and peers have in namespaces with `PREFIX`"},
		cmdutil.SizeFlag("mirror-rate", 16<<20, "with --mirror: fetch at most `SIZE` a second of what is past; 0: no bound"),
		&cli.BoolFlag{Name: "iroh", EnvVars: []string{"EC_RELAY_IROH"}, Usage: "reach relays, and be reached, by iroh too; starts ec-iroh"},
		&cli.StringSliceFlag{Name: "iroh-bind", Usage: "with --iroh: listen at `ADDR`, IP:PORT of UDP (default: any address, a port that the key chooses)"},
		&cli.BoolFlag{Name: "iroh-dial-only", Usage: "with --iroh: reach others, and let nobody in by iroh; with --mdns find, and do not be found"},
		&cli.BoolFlag{Name: "mdns", Usage: "with --iroh: find relays on the local network, and be found"},
		&cli.StringFlag{Name: "iroh-relay", Usage: "with --iroh: be reachable through the iroh-relay at `URL`"},
		&cli.StringFlag{Name: "iroh-relay-ca", Usage: "with --iroh: trust iroh-relays by a certificate in `FILE` (PEM)"},
		&cli.DurationFlag{Name: "linger", Value: 10 * time.Second, Usage: "take a track from upstreams for `TIME` after its last subscriber left"},
		&cli.StringFlag{Name: "qlog-dir", Usage: "log MoQ and QUIC events of each session in folder `DIR` (qlog)"},
		cmdutil.DraftFlag(),
		cmdutil.RepairFlag(),
		&cli.StringFlag{Name: "config", Usage: "read flags from `FILE`, lines of name = value"},
		&cli.BoolFlag{Name: "check", Usage: "check the configuration and exit"},
		&cli.BoolFlag{Name: "json", Usage: "with status, store, ticket and token: print the record as JSON"},
		&cli.StringSliceFlag{Name: "address", Usage: "with ticket: others reach the relay at `ADDRESS` (default: this machine's)"},
		cmdutil.AgeFlag("expires", 30*24*time.Hour, "with ticket: good for `TIME`; 0: for ever"),
		&cli.IntFlag{Name: "uses", Usage: "with ticket: let `N` programs in, at most 4096; each start of ec-pub or ec-sub is another; 0: any number"},
		&cli.StringFlag{Name: "note", Usage: "with ticket or token make: show `TEXT` beside it in the list"},
		&cli.BoolFlag{Name: "list", Usage: "with ticket: list those that are neither revoked nor expired, and make none"},
		&cli.StringFlag{Name: "revoke", Usage: "with ticket: let nobody in any more with the ticket that has this `ID` in the list"},
		&cli.StringSliceFlag{Name: "publish", Usage: "with token make: the holder may publish below the namespace `PREFIX`; * is every one"},
		&cli.StringSliceFlag{Name: "read", Usage: "with token make: the holder may read below the namespace `PREFIX`; * is every one"},
		cmdutil.AgeFlag("for", 30*24*time.Hour, "with token make: good for `TIME`; 0: for ever"),
		&cli.StringFlag{Name: "client", Usage: "with token make: make no token, but let the client with this key, whose pin is `SHA256`, do the same"},
		&cli.StringFlag{Name: "subject", Usage: "with token make: the token is for `NAME`"},
		cmdutil.AgeFlag("older", 0, "with store delete: only groups that were written more than `TIME` ago"),
		&cli.BoolFlag{Name: "print-fingerprint", Usage: "print the key's fingerprint and exit"},
	}, cmdutil.TLSFlags()...)
}
