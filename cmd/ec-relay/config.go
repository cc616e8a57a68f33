package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
	"every.channel/ec/lib/settings"
	"every.channel/ec/lib/store"
	"every.channel/ec/web"
)

// configure merges flags, environment and --config into the relay's configuration.
func configure(c *cli.Context) (relay.ServerConfig, error) {
	if err := readFile(c); err != nil {
		return relay.ServerConfig{}, err
	}
	conf := relay.ServerConfig{
		Listen: c.StringSlice("listen"), Dir: c.String("store"), Cert: c.String("cert"), Key: c.String("key"), Logger: cmdutil.Logger(c),
		HTTP: c.StringSlice("http"), Page: web.Files(), Name: c.String("name"),
		AllowOrigins: c.StringSlice("allow-origin"), QLogDir: c.String("qlog-dir"), Lenient: c.Bool("lenient"),
		Version: cmdutil.Version(),
		Store:   store.Config{MaxAge: c.Duration("retain"), MaxBytes: cmdutil.SizeOf(c, "max-bytes"), CompressAfter: c.Duration("compress-after")},
		Relay: relay.Config{
			CacheBytes: settings.Of(cmdutil.SizeOf(c, "cache")), StallWait: settings.Of(c.Duration("stall")), MaxLag: c.Int("max-lag"),
			MaxSessions: c.Int("max-sessions"), DrainTimeout: settings.Of(c.Duration("drain")), Linger: settings.Of(c.Duration("linger")),
		},
	}
	for _, s := range c.StringSlice("keep") {
		rule, err := relay.ParseKeep(s, func(s string) (int64, error) {
			var size cmdutil.Size
			err := size.Set(s)
			return int64(size), err
		})
		if err != nil {
			return conf, cmdutil.UsageError(fmt.Errorf("--keep %w", err))
		}
		conf.Store.Rules = append(conf.Store.Rules, rule)
	}
	trust, err := cmdutil.TLSConfig(c)
	if err != nil {
		return conf, err
	}
	if conf.Versions, err = client.Versions(c.String("draft")); err != nil {
		return conf, err
	}
	for _, address := range c.StringSlice("upstream") {
		if address, err = client.FromFile(address, conf.Logger); err != nil {
			return conf, fmt.Errorf("--upstream: %w", err)
		}
		if err := client.CheckURL(address); err != nil {
			return conf, cmdutil.UsageError(fmt.Errorf("--upstream: %w", err))
		}
		conf.Relay.Upstreams = append(conf.Relay.Upstreams, relay.Upstream{Relay: address, TLS: trust})
	}
	for _, peer := range c.StringSlice("peer") {
		if peer, err = client.FromFile(peer, conf.Logger); err != nil {
			return conf, fmt.Errorf("--peer: %w", err)
		}
		if id, addrs, err := mesh.ParsePeer(peer); err == nil {
			if conf.PeerAddrs == nil {
				conf.PeerAddrs = make(map[mesh.ID][]string)
			}
			conf.PeerIDs, conf.PeerAddrs[id] = append(conf.PeerIDs, id), addrs
			continue
		}
		if err := client.CheckURL(peer); err != nil {
			return conf, cmdutil.UsageError(fmt.Errorf("--peer: %w", err))
		}
		conf.Relay.Upstreams = append(conf.Relay.Upstreams, relay.Upstream{Relay: peer, TLS: trust, Peer: true})
	}
	if c.Bool("iroh") {
		program, err := iroh.Find()
		if err != nil {
			return conf, err
		}
		conf.Iroh = &iroh.Config{
			Program: program, Accept: !c.Bool("iroh-dial-only"), Bind: c.StringSlice("iroh-bind"), MDNS: c.Bool("mdns"), Relay: c.String("iroh-relay"), RelayCA: c.String("iroh-relay-ca"),
		}
	} else {
		for _, name := range []string{"iroh-bind", "iroh-dial-only", "mdns", "iroh-relay", "iroh-relay-ca"} {
			if c.IsSet(name) {
				return conf, cmdutil.UsageError(fmt.Errorf("--%s goes with --iroh", name))
			}
		}
	}
	for _, s := range c.StringSlice("mirror") {
		prefix, err := object.ParseNamespace(s)
		if err != nil {
			return conf, cmdutil.UsageError(fmt.Errorf("--mirror %w", err))
		}
		conf.Relay.Mirror = append(conf.Relay.Mirror, prefix)
		if !slices.ContainsFunc(conf.Store.Rules, func(r store.Rule) bool { return r.Prefix.Equal(prefix) }) {
			conf.Store.Rules = append(conf.Store.Rules, store.Rule{Prefix: prefix}) // a mirror keeps the whole namespace, so the store's age does not apply to it
		}
	}
	conf.Relay.MirrorRate = cmdutil.SizeOf(c, "mirror-rate")
	if len(conf.Name) > 100 {
		return conf, cmdutil.UsageError(errors.New("--name is longer than 100 bytes"))
	}
	for _, o := range conf.AllowOrigins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Host == "" || o != u.Scheme+"://"+u.Host) {
			return conf, cmdutil.UsageError(fmt.Errorf("--allow-origin %q: want https://host, with :port if it has one, or *", o))
		}
	}
	switch {
	case (conf.Cert == "") != (conf.Key == ""):
		return conf, cmdutil.UsageError(errors.New("--cert and --key go together"))
	case conf.Dir == "":
		return conf, cmdutil.UsageError(errors.New("--store is empty"))
	}
	for _, name := range []string{"retain", "compress-after", "stall", "drain", "linger"} {
		if c.Duration(name) < 0 {
			return conf, cmdutil.UsageError(fmt.Errorf("--%s is negative", name))
		}
	}
	for _, name := range []string{"max-lag", "max-sessions"} {
		if c.Int(name) < 1 {
			return conf, cmdutil.UsageError(fmt.Errorf("--%s must be positive", name))
		}
	}
	return conf, nil
}

// onlyFlags are the flags that a configuration file cannot set.
var onlyFlags = []string{"config", "check", "print-fingerprint", "json", "address", "expires", "uses", "note", "list", "revoke", "help", "version", "completion"}

// readFile sets from --config the flags that neither the command line nor the environment set.
func readFile(c *cli.Context) error {
	path := c.String("config")
	if path == "" {
		return nil
	}
	settings, err := relay.ReadSettings(path)
	if err != nil {
		return err
	}
	given := make(map[string]bool)
	for _, f := range c.App.Flags {
		given[f.Names()[0]] = c.IsSet(f.Names()[0])
	}
	for _, s := range settings {
		set, known := given[s.Name]
		switch {
		case !known, slices.Contains(onlyFlags, s.Name):
			return relay.SettingError(path, s, fmt.Errorf("unknown setting %q", s.Name))
		case set:
			continue
		}
		if err := cmdutil.SetFlag(c, s.Name, s.Value); err != nil {
			return relay.SettingError(path, s, err)
		}
	}
	return nil
}
