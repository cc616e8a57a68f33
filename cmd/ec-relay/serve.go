package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/relay"
)

// serve runs the relay until a signal comes or, with --exit-with-stdin, stdin ends.
func serve(c *cli.Context, conf relay.ServerConfig) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	conf.Counters = asked
	conf.Level = new(slog.LevelVar)
	conf.Level.Set(cmdutil.Level(c))
	conf.Logger = cmdutil.LoggerAt(c, conf.Level)
	conf.Hangup, conf.Reread = cmdutil.Hangup(c), rereads(c)
	conf.Reloading = func(begins bool) {
		tell := func() error { return cmdutil.Notify("READY=1") }
		if begins {
			tell = cmdutil.NotifyReloading
		}
		if err := tell(); err != nil {
			conf.Logger.Warn("service manager not told", "err", err)
		}
	}
	ctx, child := c.Context, c.Bool("exit-with-stdin")
	if child {
		var end context.CancelCauseFunc
		ctx, end = context.WithCancelCause(ctx)
		defer end(nil)
		go func() {
			io.Copy(io.Discard, c.App.Reader)
			conf.Logger.Info("stdin ended")
			end(errStdinEnded)
		}()
	}
	if every := cmdutil.Watchdog(); every > 0 {
		conf.Alive, conf.AliveEvery = func() { cmdutil.Notify("WATCHDOG=1") }, every/3
	}
	conf.Ready = func(up relay.Started) {
		attrs := []any{"listen", up.Listen, "store", conf.Dir, "fingerprint", up.Fingerprint}
		if len(up.HTTP) > 0 {
			attrs = append(attrs, "page", up.HTTP)
		}
		conf.Logger.Info("ready", attrs...)
		if child {
			tellParent(c.App.Writer, conf, up)
		}
		if err := cmdutil.Notify("READY=1"); err != nil {
			conf.Logger.Warn("service manager not told", "err", err)
		}
	}
	err := relay.Run(ctx, conf)
	if errors.Is(context.Cause(ctx), errStdinEnded) && errors.Is(err, errStdinEnded) {
		return nil
	}
	return err
}

// rereads returns what reads the configuration of a relay again.
func rereads(c *cli.Context) func() (relay.Anew, error) {
	runs := valuesOf(c)
	return func() (next relay.Anew, err error) {
		err = cmdutil.Again(c.Context, c, app(), func(n *cli.Context) (err error) {
			if next.ServerConfig, err = configure(n); err != nil {
				return err
			}
			values := valuesOf(n)
			for name, value := range values {
				if runs[name] != value {
					next.Changed = append(next.Changed, name)
				}
			}
			slices.Sort(next.Changed)
			next.Taken = func() { runs = values }
			return nil
		})
		return next, err
	}
}

// valuesOf returns the values of all settings of a relay, by name.
func valuesOf(c *cli.Context) map[string]string {
	all := make(map[string]string)
	for _, f := range c.App.Flags {
		name := f.Names()[0]
		switch f.(type) {
		case *cli.StringSliceFlag:
			all[name] = fmt.Sprintf("%q", c.StringSlice(name))
		case *cli.GenericFlag:
			all[name] = fmt.Sprint(c.Generic(name))
		default:
			all[name] = fmt.Sprint(c.Value(name))
		}
	}
	return all
}

// errStdinEnded is why a relay with --exit-with-stdin ends.
var errStdinEnded = errors.New("stdin ended")

// readyRecord is the one line on stdout of a relay with --exit-with-stdin (docs/relay.md).
type readyRecord struct {
	V           int      `json:"v"` // 1
	Listen      []string `json:"listen"`
	HTTP        []string `json:"http"`
	Fingerprint string   `json:"fingerprint"`
	Store       string   `json:"store"`
}

// tellParent writes the record for the program that started the relay. The relay goes on if the parent does not read the record;
// it ends when its stdin ends.
func tellParent(w io.Writer, conf relay.ServerConfig, up relay.Started) {
	r := readyRecord{V: 1, Listen: []string{}, HTTP: append([]string{}, up.HTTP...), Fingerprint: up.Fingerprint, Store: conf.Dir}
	for _, a := range up.Listen {
		r.Listen = append(r.Listen, a.String())
	}
	if err := json.NewEncoder(w).Encode(r); err != nil {
		conf.Logger.Log(context.Background(), slog.LevelWarn, "nobody reads what is ready", "err", err)
	}
}
