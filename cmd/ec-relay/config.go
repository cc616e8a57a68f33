package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
	"every.channel/ec/lib/settings"
	"every.channel/ec/lib/store"
	"every.channel/ec/lib/tier"
	"every.channel/ec/lib/trace"
	"every.channel/ec/web"
)

// configure merges flags, environment and --config into the relay's configuration.
func configure(c *cli.Context) (relay.ServerConfig, error) {
	if err := cmdutil.ReadFile(c, onlyFlags...); err != nil {
		return relay.ServerConfig{}, err
	}
	conf := relay.ServerConfig{
		Listen: c.StringSlice("listen"), Dir: c.String("store"), Cert: c.String("cert"), Key: c.String("key"), Logger: cmdutil.Logger(c),
		HTTP: c.StringSlice("http"), Page: web.Files(), Name: c.String("name"),
		AllowOrigins: c.StringSlice("allow-origin"), QLogDir: c.String("qlog-dir"), Lenient: c.Bool("lenient"),
		Open: c.Bool("open"), Private: c.Bool("private"), TokenKeys: c.StringSlice("token-key"), TokenAudiences: c.StringSlice("token-audience"),
		Version: cmdutil.Version(), Verbose: c.Bool("verbose"),
		Store: store.Config{MaxAge: cmdutil.AgeOf(c, "retain"), MaxBytes: cmdutil.SizeOf(c, "max-bytes"), CompressAfter: cmdutil.AgeOf(c, "compress-after")},
		Relay: relay.Config{
			CacheBytes: settings.Of(cmdutil.SizeOf(c, "cache")), StallWait: settings.Of(c.Duration("stall")), MaxAhead: settings.Of(c.Duration("max-ahead")), MaxLag: c.Int("max-lag"),
			MaxSessions: c.Int("max-sessions"), DrainTimeout: settings.Of(c.Duration("drain")), Linger: settings.Of(c.Duration("linger")),
			MirrorRate: cmdutil.SizeOf(c, "mirror-rate"),
		},
	}
	var err error
	if conf.Versions, err = client.Versions(c.String("draft")); err != nil {
		return conf, err
	}
	if conf.NoRepair, err = cmdutil.NoRepair(c); err != nil {
		return conf, err
	}
	if conf.Relay.ScrubRate, err = scrubRate(c); err != nil {
		return conf, err
	}
	for _, part := range []func(*cli.Context, *relay.ServerConfig) error{checkValues, lists, limitRules, keepRules, coldTier, mirrors, upstreams, overIroh, traces} {
		if err := part(c, &conf); err != nil {
			return conf, err
		}
	}
	return conf, nil
}

// checkValues reports values that no flag's type refuses.
func checkValues(c *cli.Context, conf *relay.ServerConfig) error {
	for _, o := range conf.AllowOrigins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Host == "" || o != u.Scheme+"://"+u.Host) {
			return cmdutil.UsageError(fmt.Errorf("--allow-origin %q: want https://host, with :port if it has one, or *", o))
		}
	}
	for _, text := range c.StringSlice("token-type") {
		kind, err := client.TokenType(text)
		if err != nil {
			return err
		}
		conf.TokenTypes = append(conf.TokenTypes, kind)
	}
	switch {
	case len(conf.Name) > 100:
		return cmdutil.UsageError(errors.New("--name is longer than 100 bytes"))
	case (conf.Cert == "") != (conf.Key == ""):
		return cmdutil.UsageError(errors.New("--cert and --key go together"))
	case conf.Open && conf.Private:
		return cmdutil.UsageError(errors.New("--open and --private exclude each other: who may publish may read"))
	case conf.Dir == "":
		return cmdutil.UsageError(errors.New("--store is empty"))
	}
	for _, name := range []string{"retain", "tier-after", "tier-retain", "compress-after", "stall", "max-ahead", "drain", "linger"} {
		if c.Duration(name) < 0 || cmdutil.AgeOf(c, name) < 0 {
			return cmdutil.UsageError(fmt.Errorf("--%s is negative", name))
		}
	}
	for _, name := range []string{"max-lag", "max-sessions"} {
		if c.Int(name) < 1 {
			return cmdutil.UsageError(fmt.Errorf("--%s must be positive", name))
		}
	}
	return nil
}

// lists are what --allow, --deny and --private-below name.
func lists(c *cli.Context, conf *relay.ServerConfig) (err error) {
	for flag, list := range map[string]*auth.List{"allow": &conf.Allow, "deny": &conf.Deny} {
		if *list, err = auth.ParseList(c.StringSlice(flag)); err != nil {
			return exit.With(exit.Config, fmt.Errorf("--%s: %w", flag, err), "")
		}
	}
	for _, text := range c.StringSlice("private-below") {
		ns, err := object.ParseNamespace(text)
		if err != nil {
			return cmdutil.UsageError(fmt.Errorf("--private-below: %w", err))
		}
		conf.PrivateBelow = append(conf.PrivateBelow, ns)
	}
	return nil
}

// scrubRate is what --scrub says; 0: off.
func scrubRate(c *cli.Context) (int64, error) {
	text := c.String("scrub")
	if text == "off" {
		return 0, nil
	}
	var rate cmdutil.Size
	if err := rate.Set(text); err != nil || rate <= 0 {
		return 0, cmdutil.UsageError(fmt.Errorf("--scrub %q: want bytes a second, such as 4M, or off", text))
	}
	return int64(rate), nil
}

func sizeOf(s string) (int64, error) {
	var size cmdutil.Size
	err := size.Set(s)
	return int64(size), err
}

func limitRules(c *cli.Context, conf *relay.ServerConfig) error {
	for _, s := range c.StringSlice("limit") {
		if err := relay.ParseLimit(s, &conf.Limits, sizeOf); err != nil {
			return cmdutil.UsageError(fmt.Errorf("--limit %w", err))
		}
	}
	return nil
}

func keepRules(c *cli.Context, conf *relay.ServerConfig) error {
	for _, s := range c.StringSlice("keep") {
		rule, err := relay.ParseKeep(s, cmdutil.ParseAge, sizeOf)
		if err != nil {
			return cmdutil.UsageError(fmt.Errorf("--keep %w", err))
		}
		conf.Store.Rules = append(conf.Store.Rules, rule)
	}
	return nil
}

// coldTier is the bucket of --tier.
func coldTier(c *cli.Context, conf *relay.ServerConfig) error {
	if c.String("tier") == "" {
		for _, name := range []string{"tier-after", "tier-retain", "tier-rate", "tier-credentials"} {
			if c.IsSet(name) {
				return cmdutil.UsageError(fmt.Errorf("--%s goes with --tier", name))
			}
		}
		return nil
	}
	if _, err := tier.ParseURL(c.String("tier")); err != nil {
		return cmdutil.UsageError(fmt.Errorf("--tier: %w", err))
	}
	st := &conf.Store
	st.TierAfter = cmdutil.AgeOf(c, "tier-after")
	age := st.MaxAge
	if c.IsSet("tier-retain") {
		if age = cmdutil.AgeOf(c, "tier-retain"); age == 0 {
			st.TierMaxAge = -1
		} else {
			st.TierMaxAge = age
		}
	}
	if age > 0 && age <= st.TierAfter {
		return cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("groups are kept for %s, so none of them moves after --tier-after %s", cmdutil.AgeText(age), cmdutil.AgeText(st.TierAfter)),
			"--tier-retain says how long they are kept in all"))
	}
	read := func() (tier.Credentials, error) { return tier.ReadCredentials(c.String("tier-credentials"), os.Getenv) }
	keys, err := read()
	if err != nil {
		return exit.With(exit.Config, fmt.Errorf("keys of the bucket: %w", err), "--tier-credentials names a file with aws_access_key_id = … and aws_secret_access_key = …")
	}
	bucket, err := tier.Open(tier.Config{URL: c.String("tier"), Credentials: keys, Reread: read, Rate: cmdutil.SizeOf(c, "tier-rate")})
	if err != nil {
		return exit.With(exit.Config, fmt.Errorf("--tier: %w", err), "")
	}
	st.Tier = bucket
	return nil
}

// mirrors come after the rules of --keep, which bound a mirror that they name.
func mirrors(c *cli.Context, conf *relay.ServerConfig) error {
	for _, s := range c.StringSlice("mirror") {
		prefix, err := object.ParseNamespace(s)
		if err != nil {
			return cmdutil.UsageError(fmt.Errorf("--mirror %w", err))
		}
		conf.Relay.Mirror = append(conf.Relay.Mirror, prefix)
		if !slices.ContainsFunc(conf.Store.Rules, func(r store.Rule) bool { return r.Prefix.Equal(prefix) }) {
			conf.Store.Rules = append(conf.Store.Rules, store.Rule{Prefix: prefix}) // a mirror keeps the whole namespace, so the store's age does not apply to it
		}
	}
	return nil
}

// upstreams are what --upstream and --peer name: an address or a ticket, in a file or not. A peer may be an id, too.
func upstreams(c *cli.Context, conf *relay.ServerConfig) error {
	trust, err := cmdutil.TLSConfig(c)
	if err != nil {
		return err
	}
	for _, flag := range []string{"upstream", "peer"} {
		for _, address := range c.StringSlice(flag) {
			if address, err = client.FromFile(address, conf.Logger); err != nil {
				return fmt.Errorf("--%s: %w", flag, err)
			}
			if flag == "peer" && isPeerID(conf, address) {
				continue
			}
			if err := client.CheckURL(address); err != nil {
				return cmdutil.UsageError(fmt.Errorf("--%s: %w", flag, err))
			}
			conf.Relay.Upstreams = append(conf.Relay.Upstreams, relay.Upstream{Relay: address, TLS: trust, Peer: flag == "peer"})
		}
	}
	return nil
}

// isPeerID lists a peer that is named by its id, and reports whether it is.
func isPeerID(conf *relay.ServerConfig, peer string) bool {
	id, addrs, err := mesh.ParsePeer(peer)
	if err != nil {
		return false
	}
	if conf.PeerAddrs == nil {
		conf.PeerAddrs = make(map[mesh.ID][]string)
	}
	conf.PeerIDs, conf.PeerAddrs[id] = append(conf.PeerIDs, id), addrs
	return true
}

func overIroh(c *cli.Context, conf *relay.ServerConfig) error {
	if !c.Bool("iroh") {
		for _, name := range []string{"iroh-bind", "iroh-dial-only", "mdns", "iroh-relay", "iroh-relay-ca"} {
			if c.IsSet(name) {
				return cmdutil.UsageError(fmt.Errorf("--%s goes with --iroh", name))
			}
		}
		return nil
	}
	program, err := iroh.Find()
	if err != nil {
		return err
	}
	conf.Iroh = &iroh.Config{
		Program: program, Accept: !c.Bool("iroh-dial-only"), Bind: c.StringSlice("iroh-bind"), MDNS: c.Bool("mdns"),
		Relay: c.String("iroh-relay"), RelayCA: c.String("iroh-relay-ca"),
	}
	return nil
}

// traces reads where the ways of objects are told.
func traces(c *cli.Context, conf *relay.ServerConfig) (err error) {
	if c.String("traces") == "" {
		return nil
	}
	if c.Float64("traces-ratio") <= 0 {
		return cmdutil.UsageError(errors.New("--traces-ratio is above 0 and at most 1"))
	}
	conf.Relay.Traces, err = trace.New(trace.Config{URL: c.String("traces"), Ratio: c.Float64("traces-ratio"), Service: "ec-relay", Version: conf.Version, Log: conf.Logger})
	if err != nil {
		return cmdutil.UsageError(fmt.Errorf("--traces: %w", err))
	}
	return nil
}

// onlyFlags are the flags that a configuration file cannot set.
var onlyFlags = []string{"check", "print-fingerprint", "json", "follow", "address", "expires", "uses", "note", "list", "revoke", "publish", "read", "for", "client", "token-limit", "subject", "older", "from", "to", "hash", "purge", "name-only"}
