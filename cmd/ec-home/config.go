package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/home"
	"every.channel/ec/lib/ticket"
)

// configure merges flags, environment and --config, and tries what would make ec-pub or ec-chop refuse to start.
func configure(c *cli.Context) (conf home.Config, err error) {
	if err := cmdutil.ReadFile(c, "check"); err != nil {
		return conf, err
	}
	conf = home.Config{
		Channels: c.StringSlice("channel"), Devices: c.StringSlice("device"), MaxTuners: c.Int("max-tuners"), Source: c.String("source"),
		Spool: c.String("spool"), Log: cmdutil.Logger(c),
	}
	switch {
	case len(conf.Channels) == 0:
		return conf, cmdutil.UsageError(cmdutil.Hint(errors.New("no channel is named"), "--channel 5.1, or channel = 5.1 in the file of --config; ec-discover --lineup lists them"))
	case len(c.StringSlice("relay")) == 0:
		return conf, cmdutil.UsageError(cmdutil.Hint(errors.New("no relay is named"), "--relay moqt://relay:4443, or relay = … in the file of --config"))
	case conf.MaxTuners < 0:
		return conf, cmdutil.UsageError(errors.New("--max-tuners is negative"))
	}
	if conf.Source == "" {
		name, _ := os.Hostname()
		conf.Source, _, _ = strings.Cut(name, ".")
	}
	if err := relays(c, &conf); err != nil {
		return conf, err
	}
	var try chop.Config
	if err := try.Settings(c.String("promote"), "broadcast", ""); err != nil {
		return conf, cmdutil.UsageError(err)
	}
	conf.Chop = []string{"--promote", c.String("promote")}
	if conf.Spool != "" {
		if conf.Spool, err = filepath.Abs(conf.Spool); err != nil {
			return conf, err
		}
		if err := os.MkdirAll(conf.Spool, 0o755); err != nil {
			return conf, err
		}
	}
	if conf.Programs, err = home.Find(); err != nil {
		return conf, err
	}
	return conf, pubFlags(c, &conf)
}

// relays checks the addresses, and what their files hold. A ticket is a secret, and every user of the machine sees the command lines.
func relays(c *cli.Context, conf *home.Config) error {
	for _, r := range c.StringSlice("relay") {
		if ticket.Is(r) {
			return exit.With(exit.Config, errors.New("a ticket stands in the configuration"), "write the ticket to a file that only you may read, and name that: relay = @FILE")
		}
		if name, is := strings.CutPrefix(r, "@"); is {
			path, err := filepath.Abs(name)
			if err != nil {
				return err
			}
			r = "@" + path
		}
		address, err := client.FromFile(r, conf.Log)
		if err != nil {
			return fmt.Errorf("--relay: %w", err)
		}
		if err := client.CheckURL(address); err != nil {
			return fmt.Errorf("--relay: %w", err)
		}
		conf.Relays = append(conf.Relays, r)
	}
	return nil
}

// pubFlags are what ec-pub is given, tried before.
func pubFlags(c *cli.Context, conf *home.Config) error {
	if _, err := cmdutil.TLSConfig(c); err != nil {
		return err
	}
	if _, err := client.Versions(c.String("draft")); err != nil {
		return err
	}
	if _, err := cmdutil.NoRepair(c); err != nil {
		return err
	}
	if _, err := client.NewToken(c.String("token"), c.String("token-type"), conf.Log); err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	add := func(names ...string) {
		for _, name := range names {
			v := c.String(name)
			if g, ok := c.Generic(name).(fmt.Stringer); ok {
				v = g.String()
			}
			if v != "" {
				conf.Pub = append(conf.Pub, "--"+name, v)
			}
		}
	}
	add("memory", "draft", "repair", "token-type", "client-key", "cacert")
	if conf.Spool != "" {
		add("spool-retain")
	}
	for _, name := range []string{"standby", "insecure"} {
		if c.Bool(name) {
			conf.Pub = append(conf.Pub, "--"+name)
		}
	}
	for _, pin := range c.StringSlice("fingerprint") {
		if pin = strings.TrimSpace(pin); pin != "" {
			conf.Pub = append(conf.Pub, "--fingerprint", pin)
		}
	}
	if token := c.String("token"); token != "" {
		conf.Programs.PubEnv = append(slices.Clone(conf.Programs.PubEnv), "EC_PUB_TOKEN="+token)
	}
	return nil
}
